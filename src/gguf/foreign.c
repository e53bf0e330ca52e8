/* What a file is that is no GGUF file, by how it begins: what people have in its place. */
#include "gguf/internal.h"

/* Up to this many bytes are looked at. */
enum { LOOK_BYTES = 64 };

static const struct kind {
    const char *begins;
    size_t bytes;
    const char *what; /* and what to do about it */
} kinds[] = {
#define BEGINS(TEXT, WHAT)                                                                         \
    {                                                                                              \
        TEXT, sizeof(TEXT) - 1, WHAT                                                               \
    }
    BEGINS("version https://git-lfs",
           "a pointer of Git LFS that stands for the file: fetch the file "
           "itself with \"git lfs pull\" or by its download link"),
    BEGINS("<!", "a web page: the download gave a page of the site in place of the file, use the "
                 "link of the file itself"),
    BEGINS("<html", "a web page: the download gave a page of the site in place of the file, use "
                    "the link of the file itself"),
    BEGINS("<?xml", "an XML text, as servers send in place of a file that they do not give"),
    BEGINS("{\"", "a JSON text, as servers send in place of a file that they do not give"),
    BEGINS("Entry not found", "the answer of a server that has no such file: check the link"),
    BEGINS("Invalid ", "the answer of a server that does not give the file: check the link and "
                       "whether it asks for a login"),
    BEGINS("Access to ", "the answer of a server that does not give the file without a login"),
    BEGINS("PK\3\4", "a ZIP archive, perhaps of PyTorch weights: convert the model to GGUF"),
    BEGINS("\200\2", "a Python pickle, perhaps of PyTorch weights: convert the model to GGUF"),
    BEGINS("\211HDF", "an HDF5 file: convert the model to GGUF"),
    BEGINS("lmgg", "a GGML file, which came before GGUF: take a newer conversion of the model"),
    BEGINS("fmgg", "a GGMF file, which came before GGUF: take a newer conversion of the model"),
    BEGINS("tjgg", "a GGJT file, which came before GGUF: take a newer conversion of the model"),
    BEGINS("algg", "an adapter in the format before GGUF: it is no model"),
    BEGINS("\37\213", "compressed by gzip: unpack it"),
    BEGINS("\50\265\57\375", "compressed by zstd: unpack it"),
    BEGINS("\375"
           "7zXZ",
           "compressed by xz: unpack it"),
    BEGINS("BZh", "compressed by bzip2: unpack it"),
    BEGINS("7z\274\257", "a 7z archive: unpack it"),
    BEGINS("Rar!", "a RAR archive: unpack it"),
    BEGINS("\177ELF", "a program"),
#undef BEGINS
};

/* A safetensors file: the length of its header, then the header. */
static bool is_safetensors(const char *data, size_t n)
{
    uint64_t length;
    if (n < 10)
        return false;
    memcpy(&length, data, sizeof length);
    return length < (uint64_t)1 << 32 && data[8] == '{' && (data[9] == '"' || data[9] == '}');
}

static bool is_zeros(const char *data, size_t n)
{
    size_t i = 0;
    while (i < n && data[i] == 0)
        i++;
    return i == n;
}

const char *umbra_gguf_name_foreign(const char *data, size_t n)
{
    size_t at = 0;
    n = n < LOOK_BYTES ? n : LOOK_BYTES;
    if (is_safetensors(data, n))
        return "a safetensors file: convert the model to GGUF";
    if (is_zeros(data, n))
        return "zeros: the download made room for the file, but did not fill it";
    while (at < n && (data[at] == ' ' || data[at] == '\n' || data[at] == '\r' || data[at] == '\t'))
        at++;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (n - at >= kinds[i].bytes && memcmp(data + at, kinds[i].begins, kinds[i].bytes) == 0)
            return kinds[i].what;
    return NULL;
}
