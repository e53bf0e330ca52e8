/* Layouts that walks are tried on. */
#ifndef UMBRA_TESTS_AHEAD_LAYOUTS_H
#define UMBRA_TESTS_AHEAD_LAYOUTS_H

#include "../model/make.h"

static const make_layout *const layouts[] = {
    &make_llama,       &make_olmoe,          &make_qwen2moe,    &make_deepseek2,   &make_gpt_oss,
    &make_glm4moe,     &make_minimax_m2,     &make_bailingmoe2, &make_hunyuan_moe, &make_granitemoe,
    &make_ernie45_moe, &make_gemma4,         &make_llama4,      &make_lfm2moe,     &make_glm_dsa,
    &make_deepseek32,  &make_minimax_m3,     &make_deepseek4,   &make_qwen35moe,   &make_qwen3next,
    &make_kimi_linear, &make_nemotron_h_moe, &make_qwen4exp};

#endif
