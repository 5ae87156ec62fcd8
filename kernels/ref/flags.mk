# The reference: plain C, sums in double, for every CPU.
flags_ref =
need_ref =
