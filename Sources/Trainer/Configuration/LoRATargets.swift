package import Model
package import Support

/// Reading of `--lora-targets`.
package enum LoRATargets {
  /// Every linear layer of the blocks; not the router, not lm_head.
  package static let allLinear: [LoRATarget] = [.query, .key, .value, .output, .w1, .w2, .w3]

  /// The order of `run.yaml`.
  private static let order = allLinear + [.router, .head]

  /// Names of modules, or `all-linear`, to modules: each once, in a fixed order.
  package static func parse(_ words: [String], _ options: ParsedOptions) throws(UserError)
    -> [LoRATarget]
  {
    var chosen: Set<LoRATarget> = []
    for word in words {
      let targets: [LoRATarget]
      if word == "all-linear" {
        targets = allLinear
      } else if let target = LoRATarget(name: word) {
        targets = [target]
      } else {
        throw unknown(word, options)
      }
      for target in targets where !chosen.insert(target).inserted {
        throw options.error(
          "lora-targets", "\"\(word)\" names \(target.rawValue) a second time",
          fix: "name each module once")
      }
    }
    return order.filter(chosen.contains)
  }

  private static func unknown(_ word: String, _ options: ParsedOptions) -> UserError {
    let names = order.map(\.rawValue)
    let known =
      names + order.map { $0.moduleName(.llama) } + ["router", "all-linear"]
    let nearest = nearestWord(to: word, in: known)
    return options.error(
      "lora-targets",
      "\"\(word.prefix(80))\" is no module; there are \(names.joined(separator: ", "))"
        + " and all-linear",
      fix: nearest.map { "did you mean \($0)?" } ?? "")
  }
}
