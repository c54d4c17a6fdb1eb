/// Shows how far a long work is: a bar that redraws itself on a terminal, plain lines elsewhere.
///
/// The clock and the writer come from outside, so that tests see what a user sees.
package struct ProgressBar {
  package enum Style: Sendable {
    /// A bar of at most this many columns, redrawn in place.
    case terminal(columns: Int)
    /// A line every so many steps, and for the last one.
    case lines(every: Int)
  }

  /// What a step looked like.
  package struct Status: Sendable {
    /// 1-based.
    package var step: Int
    package var loss: Double?
    package var gradientNorm: Double?
    package var learningRate: Double?
    package var tokensPerSecond: Double?

    package init(
      step: Int, loss: Double? = nil, gradientNorm: Double? = nil, learningRate: Double? = nil,
      tokensPerSecond: Double? = nil
    ) {
      self.learningRate = learningRate
      self.step = step
      self.loss = loss
      self.gradientNorm = gradientNorm
      self.tokensPerSecond = tokensPerSecond
    }
  }

  private let label: String
  private let total: Int
  private let firstStep: Int
  private let style: Style
  private let clock: () -> Double
  private let write: (String) -> Void
  private let start: Double
  private var lastDraw = -Double.infinity
  private var drawnWidth = 0
  private var latest: Status?
  private var isLatestShown = true

  /// Ten times a second is smooth, and cheap over a slow line.
  private static let secondsBetweenDraws = 0.1

  /// Starts the clock.
  ///
  /// - Parameters:
  ///   - label: one word before the count; may be empty.
  ///   - total: steps of the whole work.
  ///   - completed: steps that were done before, by a resumed run.
  ///   - style: where it is shown.
  ///   - clock: seconds from any fixed time.
  ///   - write: takes the text as it is.
  package init(
    label: String, total: Int, completed: Int = 0, style: Style,
    clock: @escaping () -> Double, write: @escaping (String) -> Void
  ) {
    self.label = label
    self.total = total
    self.style = style
    self.clock = clock
    self.write = write
    firstStep = completed
    start = clock()
  }

  /// Tells that a step is done.
  package mutating func update(_ status: Status) {
    latest = status
    isLatestShown = false
    switch style {
    case .terminal(let columns):
      guard clock() - lastDraw >= Self.secondsBetweenDraws else { return }
      draw(columns: columns)
    case .lines(let every):
      guard status.step % max(1, every) == 0 || status.step == total else { return }
      writeLine()
    }
  }

  /// Writes a line of text without mixing it with the bar.
  package mutating func note(_ text: String) {
    clear()
    write(text + "\n")
  }

  /// Shows the last step, and leaves the cursor on a new line.
  package mutating func finish() {
    switch style {
    case .terminal(let columns):
      if !isLatestShown { draw(columns: columns) }
      if drawnWidth > 0 { write("\n") }
      drawnWidth = 0
    case .lines:
      if !isLatestShown { writeLine() }
    }
  }

  private mutating func clear() {
    guard drawnWidth > 0 else { return }
    write("\r" + String(repeating: " ", count: drawnWidth) + "\r")
    drawnWidth = 0
    lastDraw = -Double.infinity
  }

  private mutating func writeLine() {
    guard let latest else { return }
    isLatestShown = true
    write(([count(latest)] + fields(latest)).joined(separator: "  ") + "\n")
  }

  private mutating func draw(columns: Int) {
    guard let latest else { return }
    isLatestShown = true
    lastDraw = clock()
    // The last column stays free: some terminals wrap when it is written.
    let line = fittedLine(latest, width: max(1, columns - 1))
    let padding = String(repeating: " ", count: max(0, drawnWidth - line.count))
    drawnWidth = line.count
    write("\r\(line)\(padding)")
  }

  /// Count, bar and as many fields as there is room for. The first three fields come before the
  /// bar in importance, the others after it.
  private func fittedLine(_ status: Status, width: Int) -> String {
    let barWidth = 20
    let count = count(status)
    var used = count.count
    var bar: [String] = []
    var shown: [String] = []
    for (position, field) in (fields(status) + [""]).enumerated() {
      if bar.isEmpty && (position == 3 || field.isEmpty) && used + barWidth + 4 <= width {
        bar = [self.bar(status, width: barWidth)]
        used += barWidth + 4
      }
      if !field.isEmpty && used + 2 + field.count <= width {
        shown.append(field)
        used += 2 + field.count
      }
    }
    return String(([count] + bar + shown).joined(separator: "  ").prefix(width))
  }

  private func bar(_ status: Status, width: Int) -> String {
    let filled = total > 0 ? min(width, status.step * width / total) : width
    return "[" + String(repeating: "=", count: filled)
      + String(repeating: " ", count: width - filled) + "]"
  }

  private func count(_ status: Status) -> String {
    let prefix = label.isEmpty ? "" : "\(label) "
    let digits = "\(total)".count
    let step = "\(status.step)"
    return prefix + String(repeating: " ", count: max(0, digits - step.count)) + "\(step)/\(total)"
  }

  private func fields(_ status: Status) -> [String] {
    var fields: [String] = []
    if let loss = status.loss { fields.append("loss \(NumberText.fixed(loss, digits: 4))") }
    if let norm = status.gradientNorm { fields.append("norm \(NumberText.short(norm))") }
    if let rate = status.learningRate { fields.append("lr \(NumberText.short(rate))") }
    let done = status.step - firstStep
    let seconds = clock() - start
    if done > 0 && seconds > 0 {
      let rate = Double(done) / seconds
      fields.append("ETA \(NumberText.duration(seconds: Double(total - status.step) / rate))")
      fields.append("\(NumberText.short(rate)) steps/s")
    }
    if let rate = status.tokensPerSecond { fields.append("\(NumberText.grouped(rate)) tokens/s") }
    return fields
  }
}
