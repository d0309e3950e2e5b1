"""Names that a model cannot have: ``NAME.h``, ``NAME_t`` or ``namespace NAME`` would mean something else."""

from __future__ import annotations

from ssmith.errors import InputError

# NAME.h would be taken for one of these, NAME_t or NAME_step for what they declare.
_HEADERS = (
    "assert complex ctype errno fenv inttypes iso646 limits locale math setjmp signal stdalign stdarg"
    " stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar wchar"
    " wctype unistd malloc memory ssm ssm_kernels ssm_loops ssm_machine ssm_file ssm_integer"
)
_TYPES = "size ssize ptrdiff max_align wint intptr uintptr intmax uintmax " + " ".join(
    f"{sign}int{speed}{bits}"
    for sign in ("", "u")
    for speed in ("", "_least", "_fast")
    for bits in (8, 16, 32, 64)
)
_KEYWORDS = (
    "alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl concept"
    " const constexpr continue decltype default delete do double else enum explicit export extern false"
    " float for friend goto if inline int long mutable namespace new noexcept not not_eq nullptr"
    " operator or or_eq private protected public register requires restrict return short signed sizeof"
    " static std struct switch template this throw true try typedef typeid typename union unsigned using"
    " virtual void volatile while xor xor_eq"
)
# Functions of the C library that stand in the global namespace, where a namespace cannot have their name.
_FUNCTIONS = (
    "abort abs acos acosh asin asinh atan atan2 atanh atexit bsearch calloc cbrt ceil clock close"
    " copysign cos cosh difftime div dup erf erfc exit exp exp2 expm1 fabs fdim floor fma fmax fmin fmod"
    " free frexp gamma getc gets gmtime hypot ilogb index isnan j0 j1 jn kill labs ldexp ldiv lgamma"
    " link listen localtime log log10 log1p log2 logb lrint lround main malloc memchr memcmp memcpy"
    " memmove memset mktime modf nan nearbyint nice open pause perror pipe pow printf putc puts qsort"
    " raise rand random read realloc remainder remove remquo rename rewind rint round scalbn scanf"
    " select send sin sinh sleep sqrt srand strlen sync system tan tanh tgamma time tmpfile trunc ungetc"
    " unlink wait write y0 y1 yn"
)
_TAKEN = frozenset(f"{_HEADERS} {_TYPES} {_KEYWORDS} {_FUNCTIONS}".split())


def check_name(name: str) -> None:
    """Refuse a name that C, C++ or the engine already uses.

    Raises:
        InputError: it is taken.
    """
    if name in _TAKEN:
        raise InputError(
            f"the model is named {name!r}, which C, C++ or the engine already uses: {name}.h, {name}_t or"
            f" namespace {name} would collide. Rename it, for example to {('my_' + name)!r}"
        )
