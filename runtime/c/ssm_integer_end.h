/* ssm_integer_end.h - forgets one vector unit, so that ssm_integer_dispatch.h can include the next.

   SPDX-License-Identifier: 0BSD (free for any use, no conditions; the text is in ssm_integer.h) */

#undef SSM_V
#undef SSM_I
#undef SSM_VALUES
#undef SSM_PER_SUM_a8
#undef SSM_PER_SUM_a16
#undef SSM_TILE_1_a8
#undef SSM_TILE_1_a16
#undef SSM_TILE_4_a8
#undef SSM_TILE_4_a16
#undef SSM_DOT_KERNEL
