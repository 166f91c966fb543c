// Print the logits of an exported model for rows of token ids.
//
//   logits MODEL IDS
//     MODEL  model.onnx, model_quantized.onnx or model_quantized.ort
//     IDS    a text file: one row a line, token ids between blanks
//
// Prints a line for each row and output: the output's name, then its values.

#include <onnxruntime_cxx_api.h>

#include <cstdint>
#include <exception>
#include <fstream>
#include <iostream>
#include <limits>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

// The inputs of the model, by name, for one text: no padding, so that every token counts.
std::int64_t value_of(const std::string& input, std::int64_t id) {
  if (input == "input_ids") return id;
  if (input == "attention_mask") return 1;
  if (input == "token_type_ids") return 0;
  throw std::runtime_error("the model has an input that a text does not have: " + input);
}

// Without VNNI, x86 adds products of signed 8-bit weights in 16 bits, which overflow.
bool int8_overflows() {
#if defined(__x86_64__) || defined(__i386__)
  std::ifstream file("/proc/cpuinfo");
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return text.find("avx512_vnni") == std::string::npos && text.find("avx_vnni") == std::string::npos;
#else
  return false;
#endif
}

// As predict.py sets them (trainer_ext/inference/onnx_session.py): the export was proven with these.
Ort::SessionOptions session_options() {
  Ort::SessionOptions options;
  // One text a run on one thread; to use more cores, call Run from as many threads.
  options.SetIntraOpNumThreads(1);
  options.AddConfigEntry("optimization.disable_specified_optimizers", "SkipLayerNormFusion");
  if (int8_overflows()) options.AddConfigEntry("session.x64quantprecision", "1");
  return options;
}

std::vector<std::vector<std::int64_t>> read_rows(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot be read: " + path);
  std::vector<std::vector<std::int64_t>> rows;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::vector<std::int64_t> row;
    for (std::int64_t id; words >> id;) row.push_back(id);
    if (!words.eof()) throw std::runtime_error("not a row of token ids: " + line);
    if (!row.empty()) rows.push_back(row);
  }
  return rows;
}

std::vector<std::string> names_of(Ort::Session& session, bool inputs) {
  Ort::AllocatorWithDefaultOptions allocator;
  const std::size_t count = inputs ? session.GetInputCount() : session.GetOutputCount();
  std::vector<std::string> names;
  for (std::size_t k = 0; k < count; ++k) {
    const auto name = inputs ? session.GetInputNameAllocated(k, allocator)
                             : session.GetOutputNameAllocated(k, allocator);
    names.emplace_back(name.get());
  }
  return names;
}

std::vector<const char*> pointers_to(const std::vector<std::string>& names) {
  std::vector<const char*> pointers;
  for (const std::string& name : names) pointers.push_back(name.c_str());
  return pointers;
}

void print_logits(Ort::Session& session, const std::vector<std::vector<std::int64_t>>& rows) {
  const std::vector<std::string> inputs = names_of(session, true);
  const std::vector<std::string> outputs = names_of(session, false);
  const std::vector<const char*> input_names = pointers_to(inputs);
  const std::vector<const char*> output_names = pointers_to(outputs);
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  // As many digits as tell all floats apart.
  std::cout.precision(std::numeric_limits<float>::max_digits10);
  for (const auto& row : rows) {
    const std::vector<std::int64_t> shape{1, static_cast<std::int64_t>(row.size())};
    std::vector<std::vector<std::int64_t>> values(inputs.size());
    std::vector<Ort::Value> tensors;
    for (std::size_t k = 0; k < inputs.size(); ++k) {
      for (const std::int64_t id : row) values[k].push_back(value_of(inputs[k], id));
      tensors.push_back(Ort::Value::CreateTensor<std::int64_t>(
          memory, values[k].data(), values[k].size(), shape.data(), shape.size()));
    }
    const auto results = session.Run(Ort::RunOptions{nullptr}, input_names.data(), tensors.data(),
                                     tensors.size(), output_names.data(), output_names.size());
    for (std::size_t k = 0; k < results.size(); ++k) {
      const float* logits = results[k].GetTensorData<float>();
      const std::size_t count = results[k].GetTensorTypeAndShapeInfo().GetElementCount();
      std::cout << outputs[k];
      for (std::size_t i = 0; i < count; ++i) std::cout << ' ' << logits[i];
      std::cout << '\n';
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: logits MODEL IDS\n";
    return 2;
  }
  try {
    const auto rows = read_rows(argv[2]);
    Ort::Env environment(ORT_LOGGING_LEVEL_ERROR, "logits");
    Ort::Session session(environment, argv[1], session_options());
    print_logits(session, rows);
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << '\n';
    return 1;
  }
  return 0;
}
