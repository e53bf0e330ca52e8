/* split_gguf IN.gguf N STEM: the same model in N shards of about equal size,
 * STEM-00001-of-0000N.gguf and so on. All keys go into the first one; split.no, split.count and
 * split.tensors.count into every one. The tensors keep their order. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "gguf/internal.h"
#include "gguf_writer.h"

enum { PIECE_BYTES = 1 << 20, MOST_SHARDS = 1000 };

static void copy_tensor(gguf_writer *w, const umbra_gguf *gguf, const umbra_gguf_tensor *t,
                        char *piece)
{
    umbra_error err;
    for (uint64_t at = 0; at < t->bytes; at += PIECE_BYTES) {
        size_t n = t->bytes - at < PIECE_BYTES ? (size_t)(t->bytes - at) : PIECE_BYTES;
        if (umbra_gguf_read_tensor(gguf, t, at, piece, n, &err) != UMBRA_OK)
            gguf_die("%s", err.message);
        gguf_write(w, piece, n);
    }
    gguf_end_tensor(w);
}

/* Writes tensors first .. last - 1 as a shard. */
static void write_shard(const umbra_gguf *gguf, const char *path, uint32_t number, uint32_t count,
                        uint64_t first, uint64_t last, char *piece)
{
    gguf_writer w;
    gguf_writer_begin(&w, path, umbra_gguf_version(gguf));
    if (number == 0)
        gguf_copy_pairs(&w, gguf);
    gguf_put_u16(&w, "split.no", (uint16_t)number);
    gguf_put_u16(&w, "split.count", (uint16_t)count);
    gguf_put_i32(&w, "split.tensors.count", (int32_t)umbra_gguf_tensor_count(gguf));
    for (uint64_t i = first; i < last; i++) {
        const umbra_gguf_tensor *t = umbra_gguf_tensor_at(gguf, i);
        char name[GGUF_NAME_BYTES];
        gguf_put_tensor(&w, gguf_name(t, name), t->dtype, t->dimensions, t->shape);
    }
    gguf_writer_data(&w);
    for (uint64_t i = first; i < last; i++)
        copy_tensor(&w, gguf, umbra_gguf_tensor_at(gguf, i), piece);
    gguf_writer_commit(&w);
}

int main(int argc, char **argv)
{
    char *end = NULL;
    long count = argc == 4 ? strtol(argv[2], &end, 10) : 0;
    if (argc != 4 || *end != '\0' || count < 2 || count > MOST_SHARDS) {
        fprintf(stderr,
                "usage: split_gguf IN.gguf N STEM\n"
                "Writes the model as N shards (2 to %d), STEM-00001-of-0000N.gguf and so on.\n",
                MOST_SHARDS);
        return 2;
    }
    umbra_error err;
    umbra_gguf *gguf;
    if (umbra_gguf_open(&gguf, argv[1], &err) != UMBRA_OK)
        gguf_die("%s", err.message);
    uint64_t tensors = umbra_gguf_tensor_count(gguf), total = 0, done = 0, first = 0;
    if ((uint64_t)count > tensors)
        gguf_die("%s: has only %" PRIu64 " tensors", argv[1], tensors);
    for (uint64_t i = 0; i < tensors; i++)
        total += umbra_gguf_tensor_at(gguf, i)->bytes;
    char *piece = malloc(PIECE_BYTES);
    if (!piece)
        gguf_die("no memory");
    for (long number = 0; number < count; number++) {
        uint64_t last = first, left = (uint64_t)(count - number - 1); /* shards after this one */
        do
            done += umbra_gguf_tensor_at(gguf, last++)->bytes;
        while (last < tensors - left &&
               (left == 0 || done < total / (uint64_t)count * (uint64_t)(number + 1)));
        char path[4096];
        if ((size_t)snprintf(path, sizeof path, "%s-%05ld-of-%05ld.gguf", argv[3], number + 1,
                             count) >= sizeof path)
            gguf_die("%s: the path is too long", argv[3]);
        write_shard(gguf, path, (uint32_t)number, (uint32_t)count, first, last, piece);
        first = last;
    }
    free(piece);
    umbra_gguf_close(&gguf);
    return 0;
}
