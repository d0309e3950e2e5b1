"""Balanced truncation of diagonal state-space systems: pure functions of systems and Gramians."""

from ssmith.reduce.accuracy import h2_error as h2_error
from ssmith.reduce.accuracy import h2_norm as h2_norm
from ssmith.reduce.accuracy import hinf_error as hinf_error
from ssmith.reduce.accuracy import hinf_norm as hinf_norm
from ssmith.reduce.accuracy import rounding_bound as rounding_bound
from ssmith.reduce.balance import balanced_truncation as balanced_truncation
from ssmith.reduce.budget import Split as Split
from ssmith.reduce.budget import bisect_order as bisect_order
from ssmith.reduce.budget import split_equal as split_equal
from ssmith.reduce.budget import split_marginal as split_marginal
from ssmith.reduce.criteria import CRITERIA as CRITERIA
from ssmith.reduce.criteria import Criterion as Criterion
from ssmith.reduce.criteria import Measured as Measured
from ssmith.reduce.criteria import reduce_system as reduce_system
from ssmith.reduce.gramians import controllability_gramian as controllability_gramian
from ssmith.reduce.gramians import observability_gramian as observability_gramian
from ssmith.reduce.hankel import hankel_singular_values as hankel_singular_values
from ssmith.reduce.hankel import order_for_bound as order_for_bound
from ssmith.reduce.hankel import order_for_tolerance as order_for_tolerance
from ssmith.reduce.reduction import Reduction as Reduction
from ssmith.reduce.refit import refit_output as refit_output
