// FedALT (Bian, Wang, Zhang, Xu, "FedALT: Federated Fine-Tuning through Adaptive Local Training with Rest-of-World LoRA", AAAI
// 2026, arXiv 2503.11880), and the variants that its options switch on. The layer is src/adapter/fedalt_linear.h.
//
// A site never starts from an averaged model: it keeps training its own (individual) adapter and reads the others through a frozen
// rest-of-world adapter:
//
//   site k:   load RoW_k of this round -> train A_I, B_I, G -> send theta_k = (A_I, B_I)
//   server:   S = sum_k w_k theta_k,  W = sum_k w_k            over the ledger of last contributions
//   site k:   RoW_k = (S - w_k theta_k) / (W - w_k)            if it is in the ledger, else S / W
//
// Options that need more than the sum (singular values, rescaling, similarity, kindred) let the server compute RoW_k for each site:
// fed/rest_of_world.h.
#pragma once

#include <memory>

#include "fed/method.h"

namespace fedalt {

std::unique_ptr<Method> MakeFedalt(const MethodOptions& options);

/// RoW_k from the published sum, which was rounded to float32 once: the error is at most 2^-24 max|S| / (W - w_k), so about
/// 6e-8 W / (W - w_k) of its largest entry (a site that holds nearly all the weight reads the others less exactly).
/// `own`: what this site has in the ledger (without values: it is not in it). All zero if there is nobody else.
at::Tensor RestOfWorld(const Published& sum, const LedgerEntry& own);

}  // namespace fedalt
