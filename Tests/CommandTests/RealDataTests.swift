import Foundation
import Support
import TestSupport
import Testing

private enum RealSets {
  static let shared = ProcessInfo.processInfo.environment["ACCELERATE_SHARED"] ?? "../shared"
  static let root = shared + "/data/datasets"
  static let model = shared + "/data/weights/stories260k-mixtral"
}

/// Data sets of real projects, looked at and trained on with a small real model.
@Suite(
  .enabled(
    if: FileSystem.isDirectory(RealSets.root),
    "no data at \(RealSets.root); set ACCELERATE_SHARED"), .timeLimit(.minutes(10)))
struct RealDataTests {
  private let place: Workplace

  init() throws { place = try Workplace() }

  /// A data set, how it is read, and what the program says of it.
  struct Set: Sendable, CustomTestStringConvertible {
    var file: String
    var format: String
    var flags: [String] = []
    var testDescription: String { file }
  }

  static let sets = [
    Set(
      file: "ko-chatbot-songys/ChatbotData.csv", format: "prompt and answer",
      flags: ["--prompt", #"{Q}\n"#, "--completion", "{A}"]),
    Set(file: "llama-factory/alpaca_en_demo.json", format: "Alpaca"),
    Set(file: "llama-factory/identity.json", format: "Alpaca"),
    Set(file: "llama-factory/glaive_toolcall_en_demo.json", format: "conversations"),
    Set(file: "llama-factory/reason_tool_use_demo_50.jsonl", format: "conversations"),
    Set(file: "llama-factory/v1_sft_demo.jsonl", format: "conversations"),
    Set(file: "mlx-wwdc25/train.jsonl", format: "prompt and answer"),
    Set(file: "mlx-wwdc25/valid.jsonl", format: "prompt and answer"),
    Set(file: "openai-messages/drone_training.jsonl", format: "conversations"),
    Set(file: "openai-messages/toy_chat_fine_tuning.jsonl", format: "conversations"),
    Set(
      file: "viggo/train.csv", format: "prompt and answer",
      flags: ["--prompt", #"{ref}\n"#, "--completion", "{mr}"]),
    Set(file: "wikisql-mlx/train.jsonl", format: "text"),
  ]

  static let template = """
    {% if tools %}{{ tools | tojson }}
    {% endif %}{% for message in messages %}{{ message.role }}: {{ message.content or '' }}\
    {% for call in message.tool_calls or [] %}{{ call | tojson }}{% endfor %}{{ eos_token }}
    {% endfor %}{% if add_generation_prompt %}assistant: {% endif %}
    """

  @Test(arguments: sets) func isLookedAtAndTrained(_ set: Set) throws {
    var flags = ["--model", RealSets.model, "--data", "\(RealSets.root)/\(set.file)"] + set.flags
    if set.format == "conversations" {
      flags += ["--chat-template", try place.write("chat.jinja", Self.template)]
    }
    let look = try place.run(["data"] + flags)
    #expect(look.exitCode == 0, "\(look.errors)")
    #expect(look.output.contains(set.format), "\(look.output)")
    let run = try place.run(
      ["train", "--max-length", "256", "--overlength", "split", "--max-steps", "3"] + flags
        + ["--packs-per-step", "2", "--output", place("run")])
    #expect(run.exitCode == 0, "\(run.errors)")
    #expect(try RunResult(place("run")).steps == [1, 2, 3])
  }

  /// Pairs of better and worse answers are another task.
  @Test func preferencesAreRefused() throws {
    let run = try place.run([
      "data", "--model", RealSets.model, "--data",
      "\(RealSets.root)/llama-factory/dpo_en_demo.json",
      "--chat-template", try place.write("chat.jinja", Self.template),
    ])
    expectError(run, ["dpo_en_demo.json:", "no message of the conversation is the assistant's"])
  }
}
