package import Support

/// The modules that may carry an adapter, under one name each.
package enum LoRATargets {
  /// Each canonical name with the other names that files and tools use for it.
  static let table: [(name: String, aliases: [String])] = [
    ("q", ["q_proj"]), ("k", ["k_proj"]), ("v", ["v_proj"]), ("o", ["o_proj"]),
    ("w1", ["gate_proj"]), ("w2", ["down_proj"]), ("w3", ["up_proj"]),
    ("gate", ["router"]), ("lm_head", []),
  ]

  /// Every linear layer of the blocks; not the router, not lm_head.
  package static let allLinear = ["q", "k", "v", "o", "w1", "w2", "w3"]

  /// Canonical names, each once, in the order of the table.
  package static func canonical(_ words: [String], _ options: ParsedOptions) throws(UserError)
    -> [String]
  {
    var chosen: Set<String> = []
    for word in words {
      let names: [String]
      if word == "all-linear" {
        names = allLinear
      } else if let entry = table.first(where: { $0.name == word || $0.aliases.contains(word) }) {
        names = [entry.name]
      } else {
        let known = table.flatMap { [$0.name] + $0.aliases } + ["all-linear"]
        let nearest = nearestWord(to: word, in: known)
        throw options.error(
          "lora-targets",
          "\"\(word.prefix(80))\" is no module; there are \(table.map(\.name).joined(separator: ", "))"
            + " and all-linear",
          fix: nearest.map { "did you mean \($0)?" } ?? "")
      }
      for name in names where !chosen.insert(name).inserted {
        throw options.error(
          "lora-targets", "\"\(word)\" names \(name) a second time",
          fix: "name each module once")
      }
    }
    return table.map(\.name).filter(chosen.contains)
  }
}
