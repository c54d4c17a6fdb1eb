/// How many insertions, deletions, replacements and swaps of neighbours turn one word into another.
package func editDistance(_ left: String, _ right: String) -> Int {
  let left = Array(left.utf8)
  let right = Array(right.utf8)
  var beforePrevious: [Int] = []
  var previous = Array(0...right.count)
  for row in 0..<left.count {
    var current = [row + 1]
    for column in 0..<right.count {
      var distance = min(
        previous[column + 1] + 1, current[column] + 1,
        previous[column] + (left[row] == right[column] ? 0 : 1))
      if row > 0, column > 0, left[row] == right[column - 1], left[row - 1] == right[column] {
        distance = min(distance, beforePrevious[column - 1] + 1)
      }
      current.append(distance)
    }
    beforePrevious = previous
    previous = current
  }
  return previous[right.count]
}

/// The word that the user probably meant, or nil when none is near.
package func nearestWord(to word: String, in words: [String]) -> String? {
  let longestUseful = 64
  guard word.utf8.count <= longestUseful else { return nil }
  let nearest = words.map { (word: $0, distance: editDistance(word, $0)) }
    .min { $0.distance < $1.distance }
  guard let nearest else { return nil }
  if nearest.distance <= max(1, min(3, word.utf8.count / 3)) { return nearest.word }
  // A word written short: --scheduler for --lr-scheduler.
  let containing = words.filter { word.utf8.count >= 4 && $0.contains(word) }
  return containing.count == 1 ? containing[0] : nil
}
