/* SPDX-License-Identifier: 0BSD
 * Runs the generated net and the same model as an .ssmc, both built by CMake; exit code 0 if a step
 * of both gives the same bits. */
#include <stdio.h>
#include <string.h>

#include "net.h"
#include "ssm.h"
#include "tone.h"

static net_t generated;
static float memory[1 << 16];

int main(void)
{
    float in[NET_INPUTS] = {0.5f, -1.0f, 2.0f}, a[NET_OUTPUTS], b[NET_OUTPUTS];
    ssm_t loaded;
    int k;
    if (net_init(&generated) != NET_OK)
        return 1;
    if (ssm_open(&loaded, tone_bytes, tone_bytes_n, memory, sizeof memory) != SSM_OK)
        return 2;
    for (k = 0; k < 3; k++)
        if (net_step(&generated, in, a) != NET_OK || ssm_step(&loaded, in, b) != SSM_OK ||
            memcmp(a, b, sizeof a) != 0)
            return 3;
    printf("%d frames a block\n", NET_BLOCK);
    return 0;
}
