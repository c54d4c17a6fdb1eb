import Data
import Support

/// Renders a chat template over a conversation, and finds the tokens of the answers as training
/// does. A zero byte ends the template, and messages follow as JSON.
func readTemplate(_ bytes: [UInt8]) throws {
  let (file, rest) = halves(bytes)
  guard let text = String(validating: file, as: UTF8.self) else { return }
  var messages = usualMessages
  if let rest {
    guard let list = try JSONParser.parse(Array(rest)).arrayValue else { return }
    messages = list
  }
  let template = try ChatTemplate(
    text, path: "t.jinja",
    constants: [(name: "bos_token", value: "<s>"), (name: "eos_token", value: "</s>")])
  _ = try template.render(
    [
      (name: "messages", value: .array(messages)), (name: "tools", value: tools),
      (name: "add_generation_prompt", value: .bool(true)),
    ] + otherVariables)
  let conversation = Conversation(messages: messages, tools: nil)
  guard !conversation.assistantTurns.isEmpty else { return }
  let encoded = try ConversationEncoder(template, ByteLevel.loaded.tokenizer).encode(conversation)
  for range in encoded.answers {
    check(range.upperBound <= encoded.ids.count, "an answer ends after the text")
  }
}

private let usualMessages: [JSONValue] = [
  ["role": "system", "content": "Be brief."],
  ["role": "user", "content": "Hi é 텍"],
  ["role": "assistant", "content": "ab <b>&", "n": [1, 2.5, .null]],
  ["role": "user", "content": [["type": "text", "text": "x\n\ny"]]],
  [
    "role": "assistant", "content": "",
    "tool_calls": [["type": "function", "function": ["name": "f", "arguments": ["a": 1]]]],
  ],
  ["role": "tool", "content": "{}", "name": "f"],
  ["role": "assistant", "content": "  done \n"],
]

private let tools: JSONValue = [
  [
    "type": "function",
    "function": [
      "name": "f", "description": "d",
      "parameters": ["type": "object", "properties": ["a": ["type": "integer"]]],
    ],
  ]
]

/// The variables of the templates that the seeds are.
private let otherVariables: [(name: String, value: JSONValue)] = {
  do { return try Seeds().jinja["data"]?.objectValue?.members ?? [] } catch {
    fatalError("\(error)")
  }
}()
