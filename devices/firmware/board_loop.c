/* SPDX-License-Identifier: 0BSD
 *
 * What runs on a board with an operating system: the timing of host_loop.c with its arguments, and
 *
 *     board_loop FRAMES OUTPUTS
 *
 * which writes what the model computes for raw float32 FRAMES from a fresh state, (T, outputs), so
 * that it can be compared with the reference. Compiled as host_loop.c is. Without arguments it ends at
 * once with exit code 2: a cheap way to find out whether the board can start it.
 */
#define main time_model
#include "host_loop.c"
#undef main

static int compute(const char *frames_path, const char *outputs_path)
{
    static float frame[MODEL_INPUTS];
    int code = 0;
    FILE *frames = fopen(frames_path, "rb"), *outputs = fopen(outputs_path, "wb");
    if (frames == NULL || outputs == NULL || M(_init)(&model) != 0) code = 2;
    while (code == 0 && fread(frame, sizeof frame, 1, frames) == 1) {
        if (M(_step)(&model, frame, output) != 0)
            code = 3;
        else if (fwrite(output, sizeof output, 1, outputs) != 1)
            code = 2;
    }
    if (frames != NULL) fclose(frames);
    if (outputs != NULL && fclose(outputs) != 0) code = 2;
    return code;
}

int main(int argc, char **argv)
{
    return argc == 3 ? compute(argv[1], argv[2]) : time_model(argc, argv);
}
