// What `fathom info` shows about a model, as JSON. Next in the flow: src/cli/, which prints it.
#pragma once

#include <string>

#include "fathom/core/result.h"
#include "fathom/model/model.h"

namespace fathom {

/// Everything known about an opened model, one JSON object:
///   family, name, n_layers, d_model, vocab, context, norm_eps, embedding_scale, tied_head, rope_factors, file_bytes
///   encoder         {pooling, unit_length, usual_tokens}; null: it predicts tokens
///   parameters      elements of all tensors
///   layers          [{layers: "1-5,7-11", heads, kv_heads, ...}] equal LayerSpecs together, layers counted from 1
///   sources         [{name, value, source}] where each value of the specs came from
///   tensors         [{name, type, rows, cols, bytes}] in the file's order
///   types           {type: {tensors, bytes}}
///   memory          {packed_bytes, vector_bytes, embedding_bytes, kv_bytes_per_token {f16, f32}, kv_bytes_at_context
///   {f16, f32}} kernels         [{operation, kernel}] who serves each operation on this machine; null: nobody does
///   tokenizer       {model, pre, vocab, bos, eos, adds_bos, chat_template: whether the file holds one}
///   fingerprint     {model, tokenizer, numeric_path}, hashes as 16 hex digits
///   limits          {context, vocab, layers} of this file and what this build reads at most
FATHOM_API std::string describe_json(const Model& model);

}  // namespace fathom
