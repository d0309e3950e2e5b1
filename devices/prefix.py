"""The aarch64 root as one processor sees it, and how its Python is started."""

from __future__ import annotations

from pathlib import Path

from ssmith.devices.root_parts import SITE, python_version

# Part numbers in /proc/cpuinfo, by which libraries choose kernels.
PARTS = {"cortex-a53": "0xd03", "cortex-a72": "0xd08", "cortex-a76": "0xd0b", "neoverse-n1": "0xd0c"}
FEATURES = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
NEWER = " atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"  # Armv8.2 with the dot product


def python_in(tree: Path, prefix: Path, cpu: str = "cortex-a72", *, writes: bool = False) -> list[str]:
    """The arguments of ``qemu-aarch64`` up to those of Python.

    Args:
        tree: the root.
        prefix: is made: the root for this processor.
        cpu: as QEMU names it.
        writes: whether Python may leave its bytecode in the root.
    """
    environment: dict[str, object] = {"PYTHONHOME": tree / "usr", "PYTHONPATH": tree / SITE}
    environment |= {"PYTHONHASHSEED": 0, "OMP_NUM_THREADS": 1, "OPENBLAS_NUM_THREADS": 1}
    environment |= {} if writes else {"PYTHONDONTWRITEBYTECODE": 1}
    inside = [word for name, value in environment.items() for word in ("-E", f"{name}={value}")]
    python = tree / "usr/bin" / f"python{python_version(tree)}"
    return ["-L", str(processor_root(tree, prefix, cpu)), *inside, str(python)]


def processor_root(tree: Path, prefix: Path, cpu: str) -> Path:
    """A root for one processor: links into the tree, and what Linux says of the processor.

    onnxruntime reads ``/proc/cpuinfo``. It must not be this machine's: on x86 it crashes. QEMU looks into
    its prefix before it looks at the machine, so that a file there is enough.

    Args:
        tree: the root.
        prefix: is made.
        cpu: as QEMU names it.
    """
    prefix.mkdir()
    for entry in tree.iterdir():
        (prefix / entry.name).symlink_to(entry)
    processors = prefix / "sys/devices/system/cpu"
    for folder in (prefix / "proc", processors):
        folder.mkdir(parents=True)
    features = FEATURES + ("" if cpu in ("cortex-a53", "cortex-a72") else NEWER)
    (prefix / "proc/cpuinfo").write_text(
        f"processor\t: 0\nBogoMIPS\t: 108.00\nFeatures\t: {features}\nCPU implementer\t: 0x41\n"
        f"CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: {PARTS[cpu]}\nCPU revision\t: 3\n\n"
    )
    for name in ("possible", "present", "online"):
        (processors / name).write_text("0\n")
    return prefix
