extension CommandLineParser {
  /// Usage, then a sentence and the default for each flag, grouped, at most `columns` wide.
  package func helpText(columns: Int = 100) -> String {
    var usage = "usage: \(command) [flags]"
    if let restPlaceholder { usage += " \(restPlaceholder)" }
    var text = usage + "\n\n" + TextLayout.wrap(summary, columns: columns).joined(separator: "\n")
    text += "\n"
    let helpFlag = Option("help", .toggle, "Prints this text.")
    for (position, group) in groups.enumerated() {
      text += "\n\(group.title)\n"
      let isLast = position == groups.count - 1
      for option in group.options + (isLast ? [helpFlag] : []) {
        text += Self.entry(option, columns: columns)
      }
    }
    return text
  }

  /// The flag in a left column where it fits, its sentence beside or below it.
  private static func entry(_ option: Option, columns: Int) -> String {
    let leftWidth = 32
    var flag = "  --\(option.name)"
    if !option.placeholder.isEmpty { flag += " \(option.placeholder)" }
    var sentence = option.help
    if !option.defaultText.isEmpty { sentence += " Default: \(option.defaultText)." }
    let lines = TextLayout.wrap(sentence, columns: columns - leftWidth)
    let indent = String(repeating: " ", count: leftWidth)
    var text = flag
    if flag.count + 2 <= leftWidth {
      text += String(repeating: " ", count: leftWidth - flag.count)
    } else {
      text += "\n" + indent
    }
    return text + lines.joined(separator: "\n" + indent) + "\n"
  }
}

/// Breaking of sentences into lines.
package enum TextLayout {
  /// Lines of at most `columns` characters, broken at spaces; a longer word has a line of its own.
  package static func wrap(_ text: String, columns: Int) -> [String] {
    var lines: [String] = []
    var line = ""
    for word in text.split(separator: " ") {
      if !line.isEmpty && line.count + 1 + word.count > columns {
        lines.append(line)
        line = ""
      }
      line += (line.isEmpty ? "" : " ") + word
    }
    if !line.isEmpty { lines.append(line) }
    return lines
  }
}
