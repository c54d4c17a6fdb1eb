/// How many samples have which length, in bars of equal width.
struct LengthHistogram {
  struct Bar: Equatable {
    var range: ClosedRange<Int>
    var count: Int
  }

  let bars: [Bar]

  /// - Parameters:
  ///   - lengths: ascending.
  ///   - barCount: the most bars.
  init(_ lengths: [Int], barCount: Int = 20) {
    let longest = lengths.last ?? 0
    let width = Self.roundWidth(max(1, (longest + barCount - 1) / barCount))
    var bars = (0..<(longest + width - 1) / width).map {
      Bar(range: $0 * width + 1...($0 + 1) * width, count: 0)
    }
    for length in lengths where length > 0 { bars[(length - 1) / width].count += 1 }
    self.bars = bars
  }

  /// The next of 1, 2, 5, 10, 20, ...
  private static func roundWidth(_ width: Int) -> Int {
    var scale = 1
    while true {
      for factor in [1, 2, 5] where factor * scale >= width { return factor * scale }
      scale *= 10
    }
  }

  /// Lines for a terminal.
  var text: String {
    let most = max(1, bars.map(\.count).max() ?? 1)
    let labels = bars.map { "\($0.range.lowerBound)-\($0.range.upperBound)" }
    let labelWidth = labels.map(\.count).max() ?? 0
    let countWidth = "\(most)".count
    return zip(labels, bars).map { label, bar in
      let length = bar.count == 0 ? 0 : max(1, (50 * bar.count + most / 2) / most)
      let line =
        pad(label, labelWidth) + "  " + pad("\(bar.count)", countWidth) + "  "
        + String(repeating: "#", count: length)
      return "  " + (length == 0 ? String(line.dropLast(2)) : line) + "\n"
    }.joined()
  }

  private func pad(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(0, width - text.count)) + text
  }

  /// An SVG image.
  ///
  /// - Parameter title: one line above the bars.
  func svg(title: String) -> String {
    let (left, top, plotWidth, plotHeight) = (60, 40, 640, 240)
    let most = max(1, bars.map(\.count).max() ?? 1)
    let step = Double(plotWidth) / Double(max(1, bars.count))
    func number(_ value: Double) -> String { NumberText.fixed(value, digits: 1) }
    var text = """
      <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 340" font-family="sans-serif" \
      font-size="12">
      <rect width="720" height="340" fill="white"/>
      <text x="\(left)" y="24" font-size="14">\(Self.escaped(title))</text>

      """
    for (index, bar) in bars.enumerated() {
      let height = Double(plotHeight) * Double(bar.count) / Double(most)
      let x = Double(left) + step * Double(index)
      text += """
        <rect x="\(number(x + 1))" y="\(number(Double(top + plotHeight) - height))" \
        width="\(number(max(1, step - 2)))" height="\(number(height))" fill="#4472a8">\
        <title>\(bar.range.lowerBound)-\(bar.range.upperBound) tokens: \(bar.count)</title></rect>

        """
      if index % max(1, (bars.count + 9) / 10) == 0 {
        text += """
          <text x="\(number(x))" y="\(top + plotHeight + 18)">\(bar.range.lowerBound)</text>

          """
      }
    }
    return text + """
      <line x1="\(left)" y1="\(top + plotHeight)" x2="\(left + plotWidth)" \
      y2="\(top + plotHeight)" stroke="black"/>
      <text x="\(left - 6)" y="\(top + 10)" text-anchor="end">\(most)</text>
      <text x="\(left - 6)" y="\(top + plotHeight)" text-anchor="end">0</text>
      <text x="\(left + plotWidth / 2)" y="\(top + plotHeight + 42)" \
      text-anchor="middle">tokens of a sample</text>
      </svg>

      """
  }

  private static func escaped(_ text: String) -> String {
    text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
  }
}
