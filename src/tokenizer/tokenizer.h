/* Text to token ids and back, with the vocabulary of a GGUF file.
 *
 * Model "gpt2": byte-level BPE. The text is cut by the pre-tokenisation regex (PCRE2, Unicode
 * properties), the bytes of each piece become single-byte tokens, and pairs are merged in the
 * order of the merge list. Bytes that are not UTF-8 are encoded byte by byte. Pre-tokenisers, by
 * tokenizer.ggml.pre, and which of them compose text first (Unicode's normal form C): see the table
 * in split.c.
 *
 * Model "llama": SentencePiece. Spaces become U+2581, one more stands before the text and after
 * every special token (unless add_space_prefix is false), and neighbours are merged while the
 * vocabulary has their text, the highest score first. Characters that are no token become their
 * bytes' tokens, or where those are missing the unknown token.
 *
 * A vocabulary with gaps, equal texts, merges that cannot happen or ids that are no token's is used
 * as far as it goes; notes say what is left out. What cannot be spelled becomes the unknown token,
 * or nothing where there is none.
 *
 * tokenizer.ggml.add_eos_token is not followed: what is encoded here is always continued.
 * The handle is immutable after opening; encode and decode may run concurrently. */
#ifndef UMBRA_TOKENIZER_TOKENIZER_H
#define UMBRA_TOKENIZER_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <umbra/status.h>
#include <umbra/template.h>

#include "gguf/gguf.h"
#include "base/notes.h"

typedef struct umbra_tokenizer umbra_tokenizer;

/* Reads tokenizer.ggml.* of gguf, which must outlive the tokenizer (token texts point into it).
 * An unknown model or pre-tokeniser is refused by name (UMBRA_E_UNSUPPORTED). */
int umbra_tokenizer_open(umbra_tokenizer **out, const umbra_gguf *gguf, umbra_error *err);
void umbra_tokenizer_close(umbra_tokenizer **tokenizer);

uint32_t umbra_tokenizer_size(const umbra_tokenizer *tokenizer);  /* number of tokens */
uint64_t umbra_tokenizer_bytes(const umbra_tokenizer *tokenizer); /* memory it holds */
int32_t umbra_tokenizer_bos(const umbra_tokenizer *tokenizer);    /* -1: none */
int32_t umbra_tokenizer_eos(const umbra_tokenizer *tokenizer);    /* -1: none */
bool umbra_tokenizer_adds_bos(const umbra_tokenizer *tokenizer);
/* The token ends a generation: by a key of the file (EOS, EOT, EOM), or by its well-known text. */
bool umbra_tokenizer_is_end(const umbra_tokenizer *tokenizer, int32_t id);
/* All of those: writes at most max, returns how many there are. */
int umbra_tokenizer_ends(const umbra_tokenizer *tokenizer, int32_t *out, int max);
/* What of the file was taken otherwise, or left out. */
const umbra_notes *umbra_tokenizer_notes(const umbra_tokenizer *tokenizer);

/* Encodes text[bytes]. add_bos: put BOS first if the file says so. special: texts of control tokens
 * ("<|endoftext|>") in the text become those tokens; otherwise they are text. Texts of user-defined
 * tokens always become those.
 * On success *ids (free with umbra_free) holds *count ids; *ids is never NULL then. */
int umbra_tokenizer_encode(const umbra_tokenizer *tokenizer, const char *text, size_t bytes,
                           bool add_bos, bool special, int32_t **ids, size_t *count,
                           umbra_error *err);
/* The same, but stops at `limit` tokens: memory and time are those of the first ones. */
int umbra_tokenizer_encode_first(const umbra_tokenizer *tokenizer, const char *text, size_t bytes,
                                 bool add_bos, bool special, size_t limit, int32_t **ids,
                                 size_t *count, umbra_error *err);

/* Encodes what a chat template has rendered: special tokens only where their whole text stems from
 * the template, so that nobody's input becomes one. User-defined tokens of the input that are not
 * written in brackets (runs of spaces and newlines in some vocabularies) are text like any other.
 * No BOS is added. The spans lie side by side over all of the text. */
int umbra_tokenizer_encode_spans(const umbra_tokenizer *tokenizer, const char *text, size_t bytes,
                                 const umbra_template_span *spans, size_t n_spans, int32_t **ids,
                                 size_t *count, umbra_error *err);

/* Bytes of one token (of a sentence piece with its leading space): writes at most `size` to out and
 * returns how many it has (which may be more than size: nothing is written then). Control tokens
 * have none unless `special`. An id outside the vocabulary has none. */
size_t umbra_tokenizer_decode(const umbra_tokenizer *tokenizer, int32_t id, bool special, char *out,
                              size_t size);

#endif
