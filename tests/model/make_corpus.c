/* Writes the seeds of the fuzz targets that open models into a folder, the header of a small model
 * of every layout: make_model_corpus FOLDER. The files are committed; this program is run only when
 * the makers of models or the list change. */
#include <stdio.h>

#include "make.h"

static const make_layout *const layouts[] = {
    &make_olmoe,       &make_llama,       &make_qwen2moe,       &make_deepseek2,   &make_gpt_oss,
    &make_glm4moe,     &make_minimax_m2,  &make_bailingmoe2,    &make_hunyuan_moe, &make_granitemoe,
    &make_ernie45_moe, &make_gemma4,      &make_llama4,         &make_lfm2moe,     &make_glm_dsa,
    &make_deepseek32,  &make_minimax_m3,  &make_deepseek4,      &make_qwen35moe,   &make_qwen3next,
    &make_qwen4exp,    &make_kimi_linear, &make_nemotron_h_moe,
};

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        char path[512];
        umbra_builder b;
        make_build(&b, layouts[i], NULL, NULL, NULL);
        snprintf(path, sizeof path, "%s/%s.head", argv[1], layouts[i]->name);
        b.count = umbra_builder_field(&b, UMBRA_FIELD_DATA, "token_embd.weight", 0)->at;
        umbra_builder_write(&b, path);
        umbra_builder_release(&b);
    }
    return 0;
}
