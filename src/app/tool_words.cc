#include "app/tool_words.h"

#include <absl/strings/ascii.h>

#include <algorithm>

namespace fedalt {
namespace {

constexpr std::string_view kHub = "models and data are read from this machine and nothing is sent to a hub";
constexpr std::string_view kNoQuantization = "weights are not quantized here; train.dtype: bfloat16 is the smallest form";
constexpr std::string_view kNoWarmUp = "there is no warm-up here; train.schedule is linear (to 0 within each round) or constant";
constexpr std::string_view kPacked = "examples are always packed end to end, without padding";
constexpr std::string_view kKernels = "the program chooses its attention kernel by itself";
constexpr std::string_view kAnswersOnly = "the loss is always that of the answer's tokens";
constexpr std::string_view kOwnTokenizer = "the tokenizer is the one in the model's directory";
constexpr std::string_view kPlainLora = "adapters are plain LoRA";
constexpr std::string_view kOneRank = "all layers have one rank and one lora_alpha; r in an entry of sites gives a site its own";
constexpr std::string_view kBeamsOnly = "evaluation is a beam search (eval.beams); fedalt generate --temperature samples";
constexpr std::string_view kLogs = "every round's metrics are in metrics.jsonl and as TensorBoard files in the run's directory";
constexpr std::string_view kOut = "fedalt run --out DIR names the directory of the run";
constexpr std::string_view kOneProcess = "a run is one process; across machines use fedalt server and fedalt site";
constexpr std::string_view kMemory =
    "there is no such switch here; a smaller train.batch_size with a larger train.accumulate takes less memory";
constexpr std::string_view kOnlyAdamW = "the optimizer is AdamW, set by train.lr, train.betas, train.eps and train.weight_decay";
constexpr std::string_view kInRounds = "counted in rounds";
constexpr std::string_view kAllEvaluated = "every site is evaluated in every evaluated round (eval.every)";
constexpr std::string_view kEnrolment = "all sites are there on one machine; across machines server.yaml has minimum_cohort";
constexpr std::string_view kInServer = "it belongs into server.yaml, of a federation across machines";
constexpr std::string_view kInSite = "it belongs into site.yaml, of a federation across machines";
constexpr std::string_view kAcrossMachines = "a configuration names no server; across machines site.yaml does (docs/operations.md)";

// One word a line where several tools share it under the first that comes to mind.
constexpr ToolWord kConfiguration[] = {
    // transformers: models
    {"model_name_or_path", "model", ""},
    {"pretrained_model_name_or_path", "model", ""},
    {"model_name", "model", ""},
    {"model_path", "model", ""},
    {"model_id", "model", ""},
    {"tokenizer", "", kOwnTokenizer},
    {"tokenizer_name", "", kOwnTokenizer},
    {"tokenizer_name_or_path", "", kOwnTokenizer},
    {"tokenizer_path", "", kOwnTokenizer},
    {"use_fast_tokenizer", "", kOwnTokenizer},
    {"revision", "", kHub},
    {"model_revision", "", kHub},
    {"cache_dir", "", kHub},
    {"token", "", kHub},
    {"hub_model_id", "", kHub},
    {"hub_token", "", kHub},
    {"push_to_hub", "", kHub},
    {"trust_remote_code", "", "no code of a model is ever run"},
    {"attn_implementation", "", kKernels},
    {"torch_dtype", "train.dtype", ""},
    {"device_map", "device", "cpu, cuda or auto; a model is not split over devices"},
    // transformers: TrainingArguments
    {"learning_rate", "train.lr", ""},
    {"num_train_epochs", "train.local_epochs", "epochs of one round; train.rounds says how many rounds"},
    {"max_steps", "train.steps", "optimizer steps of one round"},
    {"per_device_train_batch_size", "train.batch_size", ""},
    {"per_gpu_train_batch_size", "train.batch_size", ""},
    {"train_batch_size", "train.batch_size", ""},
    {"per_device_eval_batch_size", "eval.batch_size", ""},
    {"gradient_accumulation_steps", "train.accumulate", ""},
    {"adam_beta1", "train.betas", "a list of both"},
    {"adam_beta2", "train.betas", "a list of both"},
    {"adam_epsilon", "train.eps", ""},
    {"optim", "", kOnlyAdamW},
    {"optim_args", "", kOnlyAdamW},
    {"lr_scheduler_type", "train.schedule", "linear or constant"},
    {"lr_scheduler_kwargs", "train.schedule", "linear or constant"},
    {"warmup_ratio", "", kNoWarmUp},
    {"warmup_steps", "", kNoWarmUp},
    {"label_smoothing_factor", "", "the loss is plain cross-entropy; adapter.lora_dropout and train.weight_decay regularize"},
    {"neftune_noise_alpha", "", "no noise is added to embeddings; adapter.lora_dropout regularizes"},
    {"fp16", "", "float16 is not computed in; train.dtype is float32, bfloat16 or auto"},
    {"bf16", "train.dtype", "set to bfloat16"},
    {"fp16_full_eval", "", "evaluation computes in train.dtype"},
    {"bf16_full_eval", "", "evaluation computes in train.dtype"},
    {"tf32", "", "train.dtype is float32, bfloat16 or auto"},
    {"use_cpu", "device", "set to cpu"},
    {"no_cuda", "device", "set to cpu"},
    {"gradient_checkpointing", "", kMemory},
    {"group_by_length", "", kPacked},
    {"data_seed", "seed", "one seed for everything"},
    {"random_seed", "seed", ""},
    {"dataloader_num_workers", "", "the program reads data by itself; threads says how many cores it may use"},
    {"dataloader_drop_last", "", "no example is dropped"},
    {"eval_strategy", "eval.every", kInRounds},
    {"evaluation_strategy", "eval.every", kInRounds},
    {"eval_steps", "eval.every", kInRounds},
    {"do_eval", "eval.every", kInRounds},
    {"do_train", "", "method: base only evaluates, every other method trains"},
    {"predict_with_generate", "eval.generate", ""},
    {"generation_num_beams", "eval.beams", ""},
    {"generation_max_length", "eval.max_new_tokens", "without the prompt"},
    {"metric_for_best_model", "", "the best round is that of the least validation loss"},
    {"load_best_model_at_end", "keep.rounds", "last N and best; eval, generate and export take --round"},
    {"save_total_limit", "keep.rounds", "such as last 2 and best"},
    {"save_steps", "keep.rounds", "every round is saved, this says which stay"},
    {"save_strategy", "keep.rounds", "every round is saved, this says which stay"},
    {"output_dir", "", kOut},
    {"overwrite_output_dir", "", "a run begins in a new or empty directory (--out) or goes on with --resume"},
    {"run_name", "", kOut},
    {"resume_from_checkpoint", "", "fedalt run --resume DIR goes on with a run"},
    {"logging_dir", "", kLogs},
    {"logging_steps", "", kLogs},
    {"logging_strategy", "", kLogs},
    {"report_to", "", kLogs},
    {"deepspeed", "", kOneProcess},
    {"fsdp", "", kOneProcess},
    {"fsdp_config", "", kOneProcess},
    {"ddp_find_unused_parameters", "", kOneProcess},
    {"local_rank", "", kOneProcess},
    {"torch_compile", "", "nothing is compiled at run time"},
    {"remove_unused_columns", "", "a field of an example that is not used is left alone"},
    // transformers: GenerationConfig
    {"num_beams", "eval.beams", ""},
    {"max_tokens", "eval.max_new_tokens", ""},
    {"do_sample", "", kBeamsOnly},
    {"temperature", "", kBeamsOnly},
    {"top_p", "", kBeamsOnly},
    {"top_k", "", kBeamsOnly},
    {"repetition_penalty", "", "no penalty on repetitions; eval.length_penalty is the only one"},
    // peft: LoraConfig
    {"base_model_name_or_path", "model", ""},
    {"rank", "adapter.r", ""},
    {"alpha", "adapter.lora_alpha", ""},
    {"dropout", "adapter.lora_dropout", ""},
    {"modules_to_save", "", "only adapters are trained"},
    {"exclude_modules", "adapter.target_modules", "names what is adapted"},
    {"layers_to_transform", "", "linears are adapted in every layer (adapter.target_modules)"},
    {"rank_pattern", "", kOneRank},
    {"alpha_pattern", "", kOneRank},
    {"init_lora_weights", "", "A begins at random and B at zero; adapter.init_from begins from an adapter"},
    {"use_rslora", "", "the scale is lora_alpha / r; rsLoRA's is reached by adapter.lora_alpha = alpha times the square root of r"},
    {"use_dora", "", kPlainLora},
    {"peft_type", "", kPlainLora},
    {"bias", "", "biases are not trained, as with PEFT's bias: none"},
    {"task_type", "", "tasks are always language modelling (CAUSAL_LM)"},
    {"inference_mode", "", "fedalt generate and fedalt eval use a trained adapter"},
    {"peft_config", "adapter", ""},
    {"lora_config", "adapter", ""},
    {"lora", "adapter", ""},
    {"peft", "adapter", ""},
    // TRL: SFTConfig, ModelConfig, ScriptArguments
    {"max_seq_length", "train.max_length", ""},
    {"max_seq_len", "train.max_length", ""},
    {"packing", "", kPacked},
    {"eval_packing", "", kPacked},
    {"padding_free", "", kPacked},
    {"completion_only_loss", "", kAnswersOnly},
    {"assistant_only_loss", "", kAnswersOnly},
    {"dataset_name", "data.train", "a file"},
    {"dataset_text_field", "data.template", "examples have instruction, input and output"},
    {"dataset_num_proc", "", "the program reads data by itself; threads says how many cores it may use"},
    {"lora_r", "adapter.r", ""},
    {"lora_target_modules", "adapter.target_modules", ""},
    {"lora_modules_to_save", "", "only adapters are trained"},
    {"lora_task_type", "", "tasks are always language modelling (CAUSAL_LM)"},
    {"use_peft", "", "an adapter is always trained"},
    {"load_in_4bit", "", kNoQuantization},
    {"load_in_8bit", "", kNoQuantization},
    {"bnb_4bit_quant_type", "", kNoQuantization},
    {"quantization_config", "", kNoQuantization},
    {"loss_type", "", "the loss is plain cross-entropy"},
    // axolotl
    {"base_model", "model", ""},
    {"datasets", "data.train", ""},
    {"test_datasets", "data.test", ""},
    {"val_set_size", "validation", "a share of train below 1"},
    {"sequence_len", "train.max_length", ""},
    {"sequence_length", "train.max_length", ""},
    {"micro_batch_size", "train.batch_size", ""},
    {"eval_batch_size", "eval.batch_size", ""},
    {"num_epochs", "train.local_epochs", "epochs of one round; train.rounds says how many rounds"},
    {"optimizer", "", kOnlyAdamW},
    {"lr_scheduler", "train.schedule", "linear or constant"},
    {"lora_target_linear", "adapter.target_modules", "set to all-linear"},
    {"lora_model_dir", "adapter.init_from", ""},
    {"peft_use_rslora", "",
     "the scale is lora_alpha / r; rsLoRA's is reached by adapter.lora_alpha = alpha times the square root of r"},
    {"peft_use_dora", "", kPlainLora},
    {"sample_packing", "", kPacked},
    {"eval_sample_packing", "", kPacked},
    {"pad_to_sequence_len", "", kPacked},
    {"flash_attention", "", kKernels},
    {"sdp_attention", "", kKernels},
    {"xformers_attention", "", kKernels},
    {"train_on_inputs", "", kAnswersOnly},
    {"chat_template", "data.template", ""},
    {"special_tokens", "", kOwnTokenizer},
    {"tokenizer_config", "", kOwnTokenizer},
    {"evals_per_epoch", "eval.every", kInRounds},
    {"saves_per_epoch", "keep.rounds", "every round is saved, this says which stay"},
    {"eval_max_new_tokens", "eval.max_new_tokens", ""},
    {"early_stopping_patience", "", "all train.rounds are run; keep.rounds: last N and best keeps the best"},
    {"wandb_project", "", kLogs},
    {"use_wandb", "", kLogs},
    {"mlflow_tracking_uri", "", kLogs},
    {"use_tensorboard", "", kLogs},
    {"gptq", "", kNoQuantization},
    {"bfloat16", "train.dtype", "set to bfloat16"},
    {"activation_offloading", "", kMemory},
    {"activation_checkpointing", "", kMemory},
    {"dataset_prepared_path", "", "nothing is prepared ahead; data are read when the run begins"},
    // LLaMA-Factory
    {"stage", "", "a run always trains on instructions and answers"},
    {"finetuning_type", "", kPlainLora},
    {"lora_rank", "adapter.r", ""},
    {"lora_target", "adapter.target_modules", ""},
    {"additional_target", "", "only adapters are trained"},
    {"adapter_name_or_path", "adapter.init_from", ""},
    {"cutoff_len", "train.max_length", ""},
    {"dataset", "data.train", "a file"},
    {"dataset_dir", "data.train", "a file"},
    {"eval_dataset", "data.test", "a file"},
    {"val_size", "validation", "a share of train below 1"},
    {"eval_num_beams", "eval.beams", ""},
    {"compute_accuracy", "eval.metrics", "exact_match is among them"},
    {"model_max_length", "train.max_length", ""},
    {"infer_dtype", "train.dtype", ""},
    {"compute_dtype", "train.dtype", ""},
    {"pure_bf16", "train.dtype", "set to bfloat16"},
    {"quantization_bit", "", kNoQuantization},
    {"quantization_method", "", kNoQuantization},
    {"flash_attn", "", kKernels},
    {"neat_packing", "", kPacked},
    {"train_on_prompt", "", kAnswersOnly},
    {"disable_gradient_checkpointing", "", kMemory},
    {"preprocessing_num_workers", "", "the program reads data by itself; threads says how many cores it may use"},
    {"overwrite_cache", "", "nothing is prepared ahead; data are read when the run begins"},
    {"plot_loss", "", "report.html in the run's directory has the curves"},
    // torchtune
    {"epochs", "train.local_epochs", "epochs of one round; train.rounds says how many rounds"},
    {"max_steps_per_epoch", "train.steps", "optimizer steps of one round"},
    {"clip_grad_norm", "train.max_grad_norm", ""},
    {"gradient_clipping", "train.max_grad_norm", ""},
    {"num_warmup_steps", "", kNoWarmUp},
    {"lora_attn_modules", "adapter.target_modules", ""},
    {"apply_lora_to_mlp", "adapter.target_modules", "gate_proj, up_proj and down_proj, or all-linear"},
    {"apply_lora_to_output", "", "the output head is not adapted"},
    {"enable_activation_checkpointing", "", kMemory},
    {"enable_activation_offloading", "", kMemory},
    {"checkpoint_dir", "model", ""},
    {"checkpointer", "model", ""},
    {"metric_logger", "", kLogs},
    {"log_dir", "", kLogs},
    {"log_every_n_steps", "", kLogs},
    {"packed", "", kPacked},
    {"shuffle", "", "examples are shuffled anew in every epoch, by seed"},
    {"compile", "", "nothing is compiled at run time"},
    // Flower
    {"num_rounds", "train.rounds", ""},
    {"num_server_rounds", "train.rounds", ""},
    {"fraction_fit", "participation", "a fraction with a decimal point"},
    {"fraction_train", "participation", "a fraction with a decimal point"},
    {"fraction_evaluate", "", kAllEvaluated},
    {"min_fit_clients", "", kEnrolment},
    {"min_train_nodes", "", kEnrolment},
    {"min_available_clients", "", kEnrolment},
    {"min_available_nodes", "", kEnrolment},
    {"min_evaluate_clients", "", kAllEvaluated},
    {"min_evaluate_nodes", "", kAllEvaluated},
    {"num_supernodes", "sites", ""},
    {"num_clients", "sites", ""},
    {"num_nodes", "sites", ""},
    {"num_partitions", "sites", ""},
    {"clients", "sites", ""},
    {"strategy", "method", ""},
    {"server_learning_rate", "average.server_lr", ""},
    {"weighted_by_key", "average.weights", "samples or uniform"},
    {"proximal_mu", "", "FedProx is not among the methods"},
    {"round_timeout", "", "on one machine a round waits for its sites; across machines server.yaml has deadline_s"},
    {"superlink", "", kAcrossMachines},
    {"server_address", "", kAcrossMachines},
    {"client_resources", "threads", "and sites_at_once"},
    // FedIT (shepherd), OpenFedLLM
    {"global_model", "model", ""},
    {"data_path", "data.train", "a file, with {site} in its name"},
    {"prompt_template_name", "data.template", ""},
    {"num_communication_rounds", "train.rounds", ""},
    {"client_selection_frac", "participation", "a fraction with a decimal point"},
    {"local_batch_size", "train.batch_size", ""},
    {"local_micro_batch_size", "train.batch_size", ""},
    {"local_num_epochs", "train.local_epochs", ""},
    {"local_learning_rate", "train.lr", ""},
    {"local_val_set_size", "validation", "a share of train below 1"},
    {"fed_alg", "method", ""},
    {"algorithm", "method", ""},
    {"sample_clients", "participation", "an integer is a count of sites"},
    {"seq_length", "train.max_length", ""},
    {"peft_lora_r", "adapter.r", ""},
    {"peft_lora_alpha", "adapter.lora_alpha", ""},
    {"steps_per_round", "train.steps", ""},
    // fedalt: keys of the other files
    {"minimum_cohort", "", kInServer},
    {"deadline_s", "", kInServer},
    {"linger_s", "", kInServer},
    {"listen", "", kInServer},
    {"patience_s", "", kInSite},
    {"share_metrics", "", kInSite},
    {"pin", "", kInSite},
    // groups that configurations of other tools have
    {"training", "train", ""},
    {"trainer", "train", ""},
    {"training_args", "train", ""},
    {"training_arguments", "train", ""},
    {"evaluation", "eval", ""},
    {"generation", "eval", ""},
    {"generation_config", "eval", ""},
};

constexpr ToolWord kServer[] = {
    // Flower
    {"min_fit_clients", "minimum_cohort", ""},
    {"min_train_nodes", "minimum_cohort", ""},
    {"min_available_clients", "minimum_cohort", ""},
    {"min_available_nodes", "minimum_cohort", ""},
    {"round_timeout", "deadline_s", "in seconds"},
    {"timeout", "deadline_s", "in seconds"},
    {"server_address", "listen", "host:port"},
    {"fleet_api_address", "listen", "host:port"},
    {"address", "listen", "host:port"},
    {"host", "listen", "host:port"},
    {"port", "listen", "host:port"},
    {"ssl_certfile", "keys", "a folder that fedalt keys makes"},
    {"ssl_keyfile", "keys", "a folder that fedalt keys makes"},
    {"ssl_ca_certfile", "keys", "a folder that fedalt keys makes"},
    {"insecure", "keys", "calls always use TLS"},
    {"output_dir", "directory", ""},
    {"database", "directory", ""},
};

constexpr ToolWord kSite[] = {
    // Flower
    {"superlink", "server", "host:port"},
    {"server_address", "server", "host:port"},
    {"address", "server", "host:port"},
    {"host", "server", "host:port"},
    {"port", "server", "host:port"},
    {"root_certificates", "keys", "a folder that fedalt keys makes"},
    {"insecure", "keys", "calls always use TLS"},
    {"partition_id", "site", "a name in the roster"},
    {"node_id", "site", "a name in the roster"},
    {"name", "site", ""},
    {"max_wait_time", "patience_s", "in seconds"},
    {"max_retries", "patience_s", "in seconds"},
    {"dataset", "data.train", ""},
    {"output_dir", "directory", ""},
};

}  // namespace

const std::vector<ToolWord>& ToolWords(SettingsFile file) {
  static const std::vector<ToolWord> configuration(std::begin(kConfiguration), std::end(kConfiguration));
  static const std::vector<ToolWord> server(std::begin(kServer), std::end(kServer));
  static const std::vector<ToolWord> site(std::begin(kSite), std::end(kSite));
  return file == SettingsFile::kServer ? server : file == SettingsFile::kSite ? site : configuration;
}

const ToolWord* FindToolWord(SettingsFile file, std::string_view word) {
  const std::string plain = PlainWord(word);
  const std::vector<ToolWord>& words = ToolWords(file);
  const auto found =
      std::find_if(words.begin(), words.end(), [&](const ToolWord& entry) { return PlainWord(entry.word) == plain; });
  return found == words.end() ? nullptr : &*found;
}

std::string PlainWord(std::string_view word) {
  std::string plain;
  for (const char c : word)
    if (absl::ascii_isalnum(static_cast<unsigned char>(c))) plain += absl::ascii_tolower(static_cast<unsigned char>(c));
  return plain;
}

}  // namespace fedalt
