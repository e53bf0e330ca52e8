/* Layouts that walks are tried on. */
#ifndef UMBRA_TESTS_AHEAD_LAYOUTS_H
#define UMBRA_TESTS_AHEAD_LAYOUTS_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "../model/make.h"

static const make_layout *const layouts[] = {
    &make_llama,       &make_olmoe,          &make_qwen2moe,    &make_deepseek2,   &make_gpt_oss,
    &make_glm4moe,     &make_minimax_m2,     &make_bailingmoe2, &make_hunyuan_moe, &make_granitemoe,
    &make_ernie45_moe, &make_gemma4,         &make_llama4,      &make_lfm2moe,     &make_glm_dsa,
    &make_deepseek32,  &make_minimax_m3,     &make_deepseek4,   &make_qwen35moe,   &make_qwen3next,
    &make_kimi_linear, &make_nemotron_h_moe, &make_qwen4exp};

/* Hands over a model of each. */
static inline void each_layout(void (*check)(const umbra_model *model, void *user), void *user)
{
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++) {
        umbra_memory_file file;
        umbra_model *model;
        umbra_error err = {0};
        if (make_open(layouts[i], NULL, NULL, NULL, &file, &model, &err) != 0)
            fail_msg("%s", err.message);
        check(model, user);
        umbra_model_close(&model);
        umbra_memory_file_release(&file);
    }
}

#endif
