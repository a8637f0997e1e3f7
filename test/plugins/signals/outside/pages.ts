/**
 * Metrics pages for what no single server shows: several engines, GPUs and ranks, older names. Written by us after each
 * project's documentation: names, types, labels and number formats are theirs, the figures ours. Pages of real servers lie in
 * `test/fixtures/upstreams`; those at the end are lines of published ones.
 */
const lines = (...all: string[]): string => `${all.join('\n')}\n`

/** Two engines (data parallel), V1 names. */
export const VLLM = lines(
  '# HELP vllm:num_requests_running Number of requests in model execution batches.',
  '# TYPE vllm:num_requests_running gauge',
  'vllm:num_requests_running{engine="0",model_name="meta-llama/Llama-3.1-8B-Instruct"} 3.0',
  'vllm:num_requests_running{engine="1",model_name="meta-llama/Llama-3.1-8B-Instruct"} 2.0',
  '# HELP vllm:num_requests_waiting Number of requests waiting to be processed.',
  '# TYPE vllm:num_requests_waiting gauge',
  'vllm:num_requests_waiting{engine="0",model_name="meta-llama/Llama-3.1-8B-Instruct"} 7.0',
  'vllm:num_requests_waiting{engine="1",model_name="meta-llama/Llama-3.1-8B-Instruct"} 4.0',
  '# HELP vllm:kv_cache_usage_perc KV-cache usage. 1 means 100 percent usage.',
  '# TYPE vllm:kv_cache_usage_perc gauge',
  'vllm:kv_cache_usage_perc{engine="0",model_name="meta-llama/Llama-3.1-8B-Instruct"} 0.4251968503937008',
  'vllm:kv_cache_usage_perc{engine="1",model_name="meta-llama/Llama-3.1-8B-Instruct"} 0.9',
  '# HELP vllm:prompt_tokens_total Number of prefill tokens processed.',
  '# TYPE vllm:prompt_tokens_total counter',
  'vllm:prompt_tokens_total{engine="0",model_name="meta-llama/Llama-3.1-8B-Instruct"} 1.263648e+06',
)

/** The V0 engine's name of the KV gauge. */
export const VLLM_OLD = lines(
  '# TYPE vllm:num_requests_waiting gauge',
  'vllm:num_requests_waiting{model_name="m"} 0.0',
  '# HELP vllm:gpu_cache_usage_perc GPU KV-cache usage. 1 means 100 percent usage.',
  '# TYPE vllm:gpu_cache_usage_perc gauge',
  'vllm:gpu_cache_usage_perc{model_name="m"} 0.25',
)

export const TRITON = lines(
  '# HELP nv_inference_queue_duration_us Cumulative inference queuing duration in microseconds (includes cached requests)',
  '# TYPE nv_inference_queue_duration_us counter',
  'nv_inference_queue_duration_us{model="densenet_onnx",version="1"} 4000000',
  '# HELP nv_inference_pending_request_count Instantaneous number of pending requests awaiting execution per-model.',
  '# TYPE nv_inference_pending_request_count gauge',
  'nv_inference_pending_request_count{model="densenet_onnx",version="1"} 17',
  'nv_inference_pending_request_count{model="bert",version="1"} 2',
  '# HELP nv_gpu_utilization GPU utilization rate [0.0 - 1.0)',
  '# TYPE nv_gpu_utilization gauge',
  'nv_gpu_utilization{gpu_uuid="GPU-340cec52-0000-0000-0000-000000000000"} 0.910000',
  'nv_gpu_utilization{gpu_uuid="GPU-340cec52-0000-0000-0000-000000000001"} 0.120000',
)

/** With the TensorRT-LLM backend. */
export const TRITON_TRTLLM = lines(
  '# TYPE nv_inference_pending_request_count gauge',
  'nv_inference_pending_request_count{model="tensorrt_llm",version="1"} 1',
  'nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="active",version="1"} 5',
  'nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="scheduled",version="1"} 4',
  'nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="max",model="tensorrt_llm",version="1"} 6239',
  'nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="fraction",model="tensorrt_llm",version="1"} 0.31',
)

/** One GPU whose use is not known, as DCGM writes it. */
export const DCGM = lines(
  '# HELP DCGM_FI_DEV_GPU_UTIL GPU utilization (in %).',
  '# TYPE DCGM_FI_DEV_GPU_UTIL gauge',
  'DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-aaaa",pci_bus_id="00000000:3B:00.0",device="nvidia0",modelName="NVIDIA A100-SXM4-40GB",Hostname="node-1"} 37',
  'DCGM_FI_DEV_GPU_UTIL{gpu="1",UUID="GPU-bbbb",pci_bus_id="00000000:5E:00.0",device="nvidia1",modelName="NVIDIA A100-SXM4-40GB",Hostname="node-1"} 93',
  'DCGM_FI_DEV_GPU_UTIL{gpu="2",UUID="GPU-cccc",pci_bus_id="00000000:86:00.0",device="nvidia2",modelName="NVIDIA A100-SXM4-40GB",Hostname="node-1"} 2147483632',
  '# TYPE DCGM_FI_DEV_FB_USED gauge',
  'DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-aaaa",Hostname="node-1"} 21000',
)

export const LLAMACPP = lines(
  '# HELP llamacpp:prompt_tokens_total Number of prompt tokens processed.',
  '# TYPE llamacpp:prompt_tokens_total counter',
  'llamacpp:prompt_tokens_total 33065',
  '# HELP llamacpp:kv_cache_usage_ratio KV-cache usage. 1 means 100 percent usage.',
  '# TYPE llamacpp:kv_cache_usage_ratio gauge',
  'llamacpp:kv_cache_usage_ratio 0.42',
  '# HELP llamacpp:requests_processing Number of requests processing.',
  '# TYPE llamacpp:requests_processing gauge',
  'llamacpp:requests_processing 3',
  '# HELP llamacpp:requests_deferred Number of requests deferred.',
  '# TYPE llamacpp:requests_deferred gauge',
  'llamacpp:requests_deferred 1',
)

/** Tensor parallel over two ranks that tell the same. */
export const SGLANG = lines(
  '# HELP sglang:num_running_reqs The number of running requests.',
  '# TYPE sglang:num_running_reqs gauge',
  'sglang:num_running_reqs{engine_type="unified",model_name="qwen3",tp_rank="0",pp_rank="0"} 7.0',
  'sglang:num_running_reqs{engine_type="unified",model_name="qwen3",tp_rank="1",pp_rank="0"} 7.0',
  '# HELP sglang:num_queue_reqs The number of requests in the waiting queue.',
  '# TYPE sglang:num_queue_reqs gauge',
  'sglang:num_queue_reqs{engine_type="unified",model_name="qwen3",tp_rank="0",pp_rank="0"} 2826.0',
  'sglang:num_queue_reqs{engine_type="unified",model_name="qwen3",tp_rank="1",pp_rank="0"} 2826.0',
  '# HELP sglang:token_usage The token usage.',
  '# TYPE sglang:token_usage gauge',
  'sglang:token_usage{engine_type="unified",model_name="qwen3",tp_rank="0",pp_rank="0"} 0.28',
)

/** Lines of a page of SGLang's, as its own documentation shows it (sgl-project/sglang, docs/references/production_metrics.md). */
export const SGLANG_PUBLISHED = lines(
  '# HELP sglang:token_usage The token usage',
  '# TYPE sglang:token_usage gauge',
  'sglang:token_usage{model_name="meta-llama/Llama-3.1-8B-Instruct"} 0.28',
  '# TYPE sglang:time_to_first_token_seconds histogram',
  'sglang:time_to_first_token_seconds_sum{model_name="meta-llama/Llama-3.1-8B-Instruct"} 2.3518979474117756e+06',
  'sglang:time_to_first_token_seconds_bucket{le="+Inf",model_name="meta-llama/Llama-3.1-8B-Instruct"} 11008.0',
  '# HELP sglang:num_running_reqs The number of running requests',
  '# TYPE sglang:num_running_reqs gauge',
  'sglang:num_running_reqs{model_name="meta-llama/Llama-3.1-8B-Instruct"} 162.0',
  '# HELP sglang:num_queue_reqs The number of requests in the waiting queue',
  '# TYPE sglang:num_queue_reqs gauge',
  'sglang:num_queue_reqs{model_name="meta-llama/Llama-3.1-8B-Instruct"} 2826.0',
)

/** Lines of a page of TGI's (DataDog/integrations-core, hugging_face_tgi/tests/fixtures/payload.txt). */
export const TGI_PUBLISHED = lines(
  '# TYPE tgi_batch_concat counter',
  'tgi_batch_concat{reason="chunking"} 3',
  '',
  '# HELP tgi_queue_size Current queue size',
  '# TYPE tgi_queue_size gauge',
  'tgi_queue_size 0',
  '',
  '# HELP tgi_batch_current_size Current batch size',
  '# TYPE tgi_batch_current_size gauge',
  'tgi_batch_current_size 0',
)

/** The line of one idle GPU (DataDog/integrations-core, dcgm/tests/fixtures/metrics.txt). */
export const DCGM_PUBLISHED = lines(
  '# HELP DCGM_FI_DEV_GPU_UTIL GPU utilization (in %).',
  '# TYPE DCGM_FI_DEV_GPU_UTIL gauge',
  'DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-20c56d28-0da5-6d26-a36a-e7af1ce2586e",device="nvidia0",modelName="Tesla T4",Hostname="424773df46e0",DCGM_FI_DRIVER_VERSION="460.106.00",DCGM_FI_PROCESS_NAME="/usr/bin/dcgm-exporter"} 0',
)
