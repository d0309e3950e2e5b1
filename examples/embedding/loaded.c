/* The loadable form: a model's bytes, an engine that runs any of them, memory from you.
   SPDX-License-Identifier: 0BSD */

#include <stdio.h>

#include "ssm.h"
#include "voice.h" /* voice_bytes, voice_bytes_n: made by ssmith_add_model() */

static double memory[4096]; /* ssm_memory_bytes() says how many bytes it takes */

int main(void)
{
    ssm_t model;
    float in[64] = {0}, out[64];
    uint32_t i;
    int status = ssm_open(&model, voice_bytes, voice_bytes_n, memory, sizeof memory);
    if (status != SSM_OK || model.inputs > 64 || model.outputs > 64) {
        fprintf(stderr, "not opened (%d): the model takes %lu bytes of memory\n", status,
                (unsigned long)ssm_memory_bytes(voice_bytes, voice_bytes_n));
        return 1;
    }
    for (i = 0; i < model.inputs; i++)
        in[i] = 0.5f;
    status = ssm_step(&model, in, out);
    for (i = 0; i < model.outputs && status == SSM_OK; i++) {
        ssm_signal_t signal;
        ssm_signal(&model, model.inputs + i, &signal);
        printf("%s %.9g %s\n", signal.name, (double)out[i], signal.unit);
    }
    return status == SSM_OK ? 0 : 1;
}
