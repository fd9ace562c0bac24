// Fathom: transformer inference in which depth is decided at run time, token by token.
//
//   text -> tokenizer -> rows -> [ layer loop:  signals -> policy decides -> act -> attention -> feed-forward ]
//                                     ^                                      |                       |
//                                     +------------ KV cache ----------------+                       v
//   text <- tokenizer <- token <- sampler <------------------------------------------------- head (at any layer)
//                                                       every decision -> trace -> replay
//
// Read in this order: text/ (words), model/ (a file becomes weights), engine/layer_loop.h (the whole idea in one page),
// engine/draft.h (guesses that full depth confirms), policy/ (who decides), ops/ (the line to the kernels), cache/,
// head/, sample/, trace/, calibrate/ (what a model has to spare, and a promise about it). Three objects to the first
// token:
//
//   auto model = fathom::Model::open("model.gguf").value();
//   auto session = fathom::Session::make(model).value();
//   auto text = fathom::generate(session, "Once upon a time", {.policy = fathom::exit_at{.layer = 13}}).value().text;
#pragma once

#include "fathom/calibrate/adaptation.h"
#include "fathom/calibrate/calibrate.h"
#include "fathom/calibrate/embedding_file.h"
#include "fathom/calibrate/recheck.h"
#include "fathom/classify/classifier.h"
#include "fathom/classify/task_file.h"
#include "fathom/engine/batch.h"
#include "fathom/engine/draft.h"
#include "fathom/engine/embed.h"
#include "fathom/engine/generate.h"
#include "fathom/engine/perplexity.h"
#include "fathom/engine/session.h"
#include "fathom/head/hot_head.h"
#include "fathom/model/model.h"
#include "fathom/policy/policy.h"
#include "fathom/sample/sampler.h"
#include "fathom/text/chat.h"
#include "fathom/text/tokenizer.h"
#include "fathom/trace/replay.h"
#include "fathom/trace/trace.h"
