/* Shadow files that are truncated, altered or malicious: each is refused with its path and what is
 * wrong. A good file is taken apart, changed in one place and put together again. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json_writer.h"
#include "base/memory.h"
#include "safetensors/safetensors.h"
#include "support.h"

enum { TENSORS_MAX = 128, PAIRS_MAX = 32, DATA_MAX = 1 << 16 };

static char path[300];
static umbra_error err;

/* A file in memory. */
typedef struct parts {
    umbra_safetensors_tensor tensors[TENSORS_MAX];
    size_t begin[TENSORS_MAX]; /* in data */
    size_t n;
    umbra_safetensors_pair pairs[PAIRS_MAX];
    size_t n_pairs;
    unsigned char data[DATA_MAX];
} parts;

static int set_up(void **state)
{
    (void)state;
    temporary_path(path, sizeof path);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    return 0;
}

static void must(int rc)
{
    if (rc != UMBRA_OK)
        fail_msg("%s", err.message);
}

static umbra_shadow_spec spec_of(umbra_shadow_weights weights)
{
    umbra_shadow_spec spec = small_spec();
    spec.layers = 3;
    spec.weights = weights;
    spec.features = UMBRA_FEATURE_NOW;
    spec.averages = 1;
    spec.decay[0] = 0.5f;
    return spec;
}

/* Names and texts stay with the open file. */
static umbra_safetensors *take_apart(parts *p)
{
    umbra_safetensors *file;
    size_t at = 0;
    must(umbra_safetensors_open(&file, path, &err));
    *p = (parts){.n = umbra_safetensors_count(file),
                 .n_pairs = umbra_safetensors_metadata_count(file)};
    assert_true(p->n < TENSORS_MAX && p->n_pairs < PAIRS_MAX);
    for (size_t i = 0; i < p->n; i++) {
        p->tensors[i] = *umbra_safetensors_at(file, i);
        p->begin[i] = at;
        assert_true(at + p->tensors[i].bytes <= DATA_MAX);
        must(umbra_safetensors_read(file, umbra_safetensors_at(file, i), p->data + at, &err));
        at += p->tensors[i].bytes;
    }
    for (size_t i = 0; i < p->n_pairs; i++)
        p->pairs[i] = umbra_safetensors_metadata_at(file, i);
    return file;
}

static uint64_t bytes_of(const umbra_safetensors_tensor *t)
{
    uint64_t bytes = umbra_safetensors_dtype_bytes(t->dtype);
    for (uint32_t k = 0; k < t->dimensions; k++)
        bytes *= t->shape[k];
    return bytes;
}

/* Without the library's writer, which would sync every one of these files to disk. */
static void put_together(const parts *p)
{
    uint64_t header_bytes = 0, at = 0;
    umbra_json j;
    unlink(path); /* some file systems write a truncated file out at once */
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fwrite(&header_bytes, sizeof header_bytes, 1, file);
    umbra_json_begin(&j, file);
    umbra_json_open(&j, '{');
    umbra_json_key(&j, "__metadata__");
    umbra_json_open(&j, '{');
    for (size_t i = 0; i < p->n_pairs; i++) {
        umbra_json_key(&j, p->pairs[i].key);
        umbra_json_text(&j, p->pairs[i].value);
    }
    umbra_json_close(&j, '}');
    for (size_t i = 0; i < p->n; i++) {
        umbra_json_key(&j, p->tensors[i].name);
        umbra_json_open(&j, '{');
        umbra_json_key(&j, "dtype");
        umbra_json_text(&j, umbra_safetensors_dtype_name(p->tensors[i].dtype));
        umbra_json_key(&j, "shape");
        umbra_json_open(&j, '[');
        for (uint32_t k = 0; k < p->tensors[i].dimensions; k++)
            umbra_json_uint(&j, p->tensors[i].shape[k]);
        umbra_json_close(&j, ']');
        umbra_json_key(&j, "data_offsets");
        umbra_json_open(&j, '[');
        umbra_json_uint(&j, at);
        umbra_json_uint(&j, at += bytes_of(&p->tensors[i]));
        umbra_json_close(&j, ']');
        umbra_json_close(&j, '}');
    }
    umbra_json_close(&j, '}');
    header_bytes = (uint64_t)ftell(file) - 8;
    for (size_t i = 0; i < p->n; i++) {
        assert_true(p->begin[i] + bytes_of(&p->tensors[i]) <= DATA_MAX);
        fwrite(p->data + p->begin[i], 1, bytes_of(&p->tensors[i]), file);
    }
    rewind(file);
    fwrite(&header_bytes, sizeof header_bytes, 1, file);
    assert_int_equal(fclose(file), 0);
}

static void save_good(umbra_shadow_weights weights)
{
    umbra_shadow_spec spec = spec_of(weights);
    umbra_shadow *shadow = random_shadow(&spec, 1);
    shadow->training = umbra_strdup("{\"epochs\":[]}");
    shadow->recall = umbra_strdup("{}");
    must(umbra_shadow_save(shadow, path, &err));
    umbra_shadow_free(&shadow);
}

static void expect_refusal(int status, const char *words)
{
    umbra_shadow *shadow = (umbra_shadow *)path;
    int rc = umbra_shadow_load(&shadow, path, &err);
    if (rc != status || !strstr(err.message, words) || !strstr(err.message, path))
        fail_msg("wanted \"%s\", got %s: %s", words, umbra_status_name(rc), err.message);
    for (const char *c = err.message; *c; c++)
        assert_true((unsigned char)*c >= 0x20);
    assert_null(shadow);
}

static size_t tensor_named(const parts *p, const char *name)
{
    for (size_t i = 0; i < p->n; i++)
        if (strcmp(p->tensors[i].name, name) == 0)
            return i;
    fail_msg("no tensor %s", name);
    return 0;
}

static size_t pair_named(const parts *p, const char *key)
{
    for (size_t i = 0; i < p->n_pairs; i++)
        if (strcmp(p->pairs[i].key, key) == 0)
            return i;
    fail_msg("no key %s", key);
    return 0;
}

#define LONG "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

/* value NULL: the key is left out. */
static const struct {
    const char *key, *value;
    const char *words;
} metadata[] = {
    {"format", NULL, "not a shadow model"},
    {"format", "umbra-trace", "not a shadow model"},
    {"format", "umbra-shadow2", "not a shadow model"},
    {"version", NULL, "\"version\" is missing"},
    {"version", "2", "version \"2\""},
    {"version", "", "version \"\""},
    {"model_hash", NULL, "\"model_hash\" is missing"},
    {"model_hash", "", "model_hash"},
    {"model_hash", LONG, "model_hash"},
    {"model_name", NULL, "\"model_name\" is missing"},
    {"model_name", LONG LONG, "model_name"},
    {"architecture", NULL, "\"architecture\" is missing"},
    {"architecture", LONG, "architecture"},
    {"layers", NULL, "\"layers\" is missing"},
    {"layers", "", "whole number"},
    {"layers", "0", "layers is not in 1..1024"},
    {"layers", "-3", "whole number"},
    {"layers", "+3", "whole number"},
    {"layers", "03", "whole number"},
    {"layers", "3.0", "whole number"},
    {"layers", " 3", "whole number"},
    {"layers", "3 ", "whole number"},
    {"layers", "3\n", "is \"3\\x0a\", not a whole number"},
    {"layers", "0x3", "whole number"},
    {"layers", "2000000000", "whole number"},
    {"layers", "999999999", "layers is not in 1..1024"},
    {"layers", "18446744073709551619", "whole number"},
    {"layers", "2", "calibration"},
    {"layers", "4", "\"s.3.W1\" is missing"},
    {"layers", "1024", "\"s.3.W1\" is missing"},
    {"hidden", "23", "tensor \"s.0.W1\" is 48; the metadata makes it 46"},
    {"hidden", "65537", "hidden is not in"},
    {"hidden", "65536", "\"s.0.W1\" is 48"},
    {"hidden", NULL, "\"hidden\" is missing"},
    {"experts", "9", "s.0.W1.features"},
    {"experts", "65534", "s.0.W1.features"},
    {"experts", "65535", "experts is not in"},
    {"experts", "2", "experts_used is not in"},
    {"experts_used", "0", "experts_used is not in"},
    {"experts_used", "11", "experts_used is not in"},
    {"experts_used", NULL, "\"experts_used\" is missing"},
    {"distances", "5", "\"distances\" is 5"},
    {"distances", NULL, "\"distances\" is missing"},
    {"arch", "Residual", "neither \"residual\" nor \"seed\""},
    {"arch", "seed", "does not belong"},
    {"arch", NULL, "\"arch\" is missing"},
    {"scope", "both", "neither \"layer\" nor \"shared\""},
    {"scope", "shared", "\"all.W1\" is missing"},
    {"width", "12", "s.0.W1"},
    {"width", "0", "width is not in"},
    {"width", "65537", "width is not in"},
    {"features", NULL, "\"features\" is missing"},
    {"features", "", "does not belong"},
    {"features", "now,", "list of"},
    {"features", ",now", "list of"},
    {"features", "now,now", "list of"},
    {"features", "no", "list of"},
    {"features", "now, previous", "list of"},
    {"features", "previous3", "list of"},
    {"features", "now,previous", "s.0.W1.features"},
    {"averages", NULL, "\"averages\" is missing"},
    {"averages", "", "s.0.W1"},
    {"averages", "0", "between 0 and 1"},
    {"averages", "1", "between 0 and 1"},
    {"averages", "-0.5", "between 0 and 1"},
    {"averages", "nan", "between 0 and 1"},
    {"averages", "0.5,", "between 0 and 1"},
    {"averages", "0.5;0.6", "between 0 and 1"},
    {"averages", " 0.5", "between 0 and 1"},
    {"averages", ".1,.2,.3,.4,.5", "between 0 and 1"},
    {"averages", "0.5,0.6", "s.0.W1"},
    {"loss", "mse", "neither \"bce\" nor \"kl\""},
    {"weights", "i4", "\"f32\", \"bf16\" or \"i8\""},
    {"weights", "i8", "is of type F32, not I8"},
    {"weights", NULL, "\"weights\" is missing"},
    {"training", "", "JSON object"},
    {"training", "[]", "JSON object"},
    {"training", "{\"a\":1,\"a\"}", "JSON object"},
    {"recall", "{", "JSON object"},
    {"recall", "null", "JSON object"},
};

static void altered_metadata(void **state)
{
    (void)state;
    static parts good, p;
    save_good(UMBRA_SHADOW_F32);
    umbra_safetensors *file = take_apart(&good);
    for (size_t i = 0; i < sizeof metadata / sizeof *metadata; i++) {
        p = good;
        size_t at = pair_named(&p, metadata[i].key);
        if (metadata[i].value)
            p.pairs[at].value = metadata[i].value;
        else
            p.pairs[at] = p.pairs[--p.n_pairs];
        put_together(&p);
        bool unsupported =
            strcmp(metadata[i].key, "version") == 0 || strcmp(metadata[i].key, "distances") == 0;
        expect_refusal(unsupported && metadata[i].value ? UMBRA_E_UNSUPPORTED : UMBRA_E_FORMAT,
                       metadata[i].words);
    }
    put_together(&good);
    umbra_safetensors_close(&file);
}

/* Every tensor in turn is left out, or has a neighbour that nobody asked for. */
static void missing_and_extra(void **state)
{
    (void)state;
    static parts good, p;
    static const char *const extras[] = {"x",       "s.3.W1", "s.0.W3",       "all.W1",
                                         "s.00.W1", "s.0.w1", "s.0.W1.scale", "calibration2",
                                         "s.0.b1\n"};
    save_good(UMBRA_SHADOW_F32);
    umbra_safetensors *file = take_apart(&good);
    for (size_t i = 0; i < good.n; i++) {
        char words[100];
        p = good;
        snprintf(words, sizeof words, "tensor \"%s\" is missing", p.tensors[i].name);
        p.n--;
        for (size_t k = i; k < p.n; k++) {
            p.tensors[k] = p.tensors[k + 1];
            p.begin[k] = p.begin[k + 1];
        }
        put_together(&p);
        expect_refusal(UMBRA_E_FORMAT, words);
    }
    for (size_t i = 0; i < sizeof extras / sizeof *extras; i++) {
        p = good;
        p.tensors[p.n] = p.tensors[0];
        p.tensors[p.n++].name = extras[i];
        put_together(&p);
        expect_refusal(UMBRA_E_FORMAT, "does not belong");
        assert_true(err.has_offset);
    }
    umbra_safetensors_close(&file);
}

/* Every tensor in turn has one row too many, one too few, other dimensions, another type. */
static void wrong_shapes(void **state)
{
    (void)state;
    static parts good, p;
    for (int form = UMBRA_SHADOW_F32; form <= UMBRA_SHADOW_I8; form++) {
        save_good((umbra_shadow_weights)form);
        umbra_safetensors *file = take_apart(&good);
        for (size_t i = 0; i < good.n; i++) {
            umbra_safetensors_tensor *t = &p.tensors[i];
            char words[100];
            snprintf(words, sizeof words, "tensor \"%s\"", good.tensors[i].name);
            for (int change = 0; change < 6; change++) {
                p = good;
                switch (change) {
                case 0:
                    t->shape[0]--;
                    break;
                case 1:
                    t->shape[t->dimensions - 1] -= 2;
                    break;
                case 2: /* transposed; a vector becomes a column */
                    t->shape[t->dimensions] = 1;
                    t->shape[0] = good.tensors[i].shape[t->dimensions - 1];
                    t->shape[t->dimensions - 1] = good.tensors[i].shape[0];
                    t->dimensions += t->dimensions == 1;
                    break;
                case 3:
                    t->shape[0] = 0;
                    break;
                case 4:
                    t->dimensions = 0;
                    break;
                default:
                    t->dtype = t->dtype == UMBRA_ST_I8 ? UMBRA_ST_U8 : UMBRA_ST_F16;
                }
                put_together(&p);
                expect_refusal(UMBRA_E_FORMAT, words);
                assert_true(err.has_offset);
            }
        }
        umbra_safetensors_close(&file);
    }
}

static void bad_values(void **state)
{
    (void)state;
    static parts good, p;
    static const float floats[] = {NAN, INFINITY, -INFINITY};
    for (int form = UMBRA_SHADOW_F32; form <= UMBRA_SHADOW_I8; form++) {
        save_good((umbra_shadow_weights)form);
        umbra_safetensors *file = take_apart(&good);
        for (size_t i = 0; i < good.n; i++) {
            const umbra_safetensors_tensor *t = &good.tensors[i];
            char words[100];
            size_t width = umbra_safetensors_dtype_bytes(t->dtype), last = t->bytes / width - 1;
            snprintf(words, sizeof words, "value %zu of tensor \"%s\" is ", last, t->name);
            for (size_t k = 0; k < 3; k++) {
                p = good;
                unsigned char *at = p.data + p.begin[i] + last * width;
                if (t->dtype == UMBRA_ST_F32)
                    memcpy(at, &floats[k], 4);
                else if (t->dtype == UMBRA_ST_BF16)
                    memcpy(at, (const unsigned char *)&floats[k] + 2, 2);
                else
                    *at = 0x80; /* -128 */
                put_together(&p);
                expect_refusal(UMBRA_E_FORMAT, words);
                assert_true(err.has_offset);
                struct stat st;
                assert_int_equal(stat(path, &st), 0);
                assert_in_range(err.offset, 8, st.st_size - (off_t)width);
            }
        }
        umbra_safetensors_close(&file);
    }
    /* Scales that are negative, or whose products overflow. */
    static const float scales[] = {-1.0f, -0x1p-149f, 0x1p125f};
    umbra_safetensors *file = take_apart(&good);
    size_t i = tensor_named(&good, "s.1.W2.scale");
    for (size_t k = 0; k < 3; k++) {
        p = good;
        memcpy(p.data + p.begin[i] + 5 * 4, &scales[k], 4);
        put_together(&p);
        expect_refusal(UMBRA_E_FORMAT, "value 5 of tensor \"s.1.W2.scale\" is not a scale");
    }
    umbra_safetensors_close(&file);
}

static void truncations(void **state)
{
    (void)state;
    struct stat st;
    save_good(UMBRA_SHADOW_BF16);
    assert_int_equal(stat(path, &st), 0);
    for (off_t n = st.st_size - 1; n >= 0; n -= 1 + n / 50) {
        assert_int_equal(truncate(path, n), 0);
        expect_refusal(UMBRA_E_FORMAT, "");
    }
    unlink(path);
    expect_refusal(UMBRA_E_IO, "");
}

/* Bytes changed at random: refused, or a shadow of finite numbers. */
static void mutations(void **state)
{
    (void)state;
    static unsigned char good[DATA_MAX], bytes[DATA_MAX];
    umbra_random random;
    int accepted = 0;
    umbra_random_seed(&random, 7);
    save_good(UMBRA_SHADOW_I8);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t n = fread(good, 1, sizeof good, file);
    fclose(file);
    assert_true(n < sizeof good);
    for (int round = 0; round < 1500; round++) {
        memcpy(bytes, good, n);
        for (int i = 0; i <= round % 4; i++) {
            static const char likely[] = "{}[]\",:0123456789 \\-.";
            size_t at = umbra_random_below(&random, round & 4 ? n : 3000);
            bytes[at] = round & 8 ? (unsigned char)likely[umbra_random_below(&random, 21)]
                                  : (unsigned char)umbra_random_u64(&random);
        }
        unlink(path);
        file = fopen(path, "wb");
        assert_non_null(file);
        assert_int_equal(fwrite(bytes, 1, n, file), n);
        fclose(file);
        umbra_shadow *shadow;
        int rc = umbra_shadow_load(&shadow, path, &err);
        if (rc != UMBRA_OK) {
            assert_non_null(strstr(err.message, path));
            assert_null(shadow);
            continue;
        }
        accepted++;
        for (int i = 0; i < shadow->count; i++) {
            float *p[UMBRA_SHADOW_PARTS];
            size_t lengths[UMBRA_SHADOW_PARTS];
            umbra_shadow_parts(&shadow->spec, &shadow->networks[i], p, lengths);
            for (int k = 0; k < UMBRA_SHADOW_PARTS; k++)
                for (size_t j = 0; j < lengths[k]; j++)
                    assert_true(isfinite(p[k][j]));
        }
        umbra_shadow_free(&shadow);
    }
    assert_in_range(accepted, 50, 1400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(altered_metadata), cmocka_unit_test(missing_and_extra),
        cmocka_unit_test(wrong_shapes),     cmocka_unit_test(bad_values),
        cmocka_unit_test(truncations),      cmocka_unit_test(mutations),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
