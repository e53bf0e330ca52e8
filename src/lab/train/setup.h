/* What a training run is to do: the options checked, the spec that follows, the data opened. */
#ifndef UMBRA_LAB_TRAIN_SETUP_H
#define UMBRA_LAB_TRAIN_SETUP_H

#include <umbra/lab/train.h>

#include "lab/train/data.h"

enum { UMBRA_TRAIN_SETTINGS = 24 /* most settings */ };

/* One thing that decides the result, as text: {"batch", "256"}. */
typedef struct umbra_train_setting {
    const char *name;
    char value[96];
} umbra_train_setting;

typedef struct umbra_train_setup {
    umbra_train_options options; /* as given, with defaults in place of 0 */
    umbra_shadow_spec spec;
    umbra_train_data data;
    int networks, threads;
    char *checkpoint; /* path of the folder */
    int n_settings;
    umbra_train_setting settings[UMBRA_TRAIN_SETTINGS];
} umbra_train_setup;

/* Release on failure too. */
int umbra_train_setup_open(umbra_train_setup *setup, const umbra_train_options *options,
                           umbra_error *err);
void umbra_train_setup_release(umbra_train_setup *setup);

#endif
