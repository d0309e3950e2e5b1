/* A model in a loop: a frame of numbers in from standard input, a line of numbers out.
   SPDX-License-Identifier: 0BSD */

#include <stdio.h>

#include "policy.h"

static policy_t model; /* POLICY_RAM_BYTES: give it a static place, not a small stack */

static int read_frame(float in[POLICY_INPUTS])
{
    int i;
    for (i = 0; i < POLICY_INPUTS; i++)
        if (scanf("%f", &in[i]) != 1)
            return 0;
    return 1;
}

int main(void)
{
    float in[POLICY_INPUTS], out[POLICY_OUTPUTS];
    int i, status = policy_init(&model);
    while (status == POLICY_OK && read_frame(in)) {
        status = policy_step(&model, in, out);
        for (i = 0; i < POLICY_OUTPUTS && status == POLICY_OK; i++)
            printf("%s %.9g %s\n", policy_meta.outputs[i].name, (double)out[i],
                   policy_meta.outputs[i].unit);
    }
    return status == POLICY_OK ? 0 : 1;
}
