/// Decides from what the ranks tell which of them has failed first.
///
/// It is given the time with every event and keeps no clock of its own.
package struct JobJudge: Sendable {
  /// What is wrong with a job.
  package struct Verdict: Sendable, Equatable {
    package enum Kind: Sendable, Equatable {
      /// Its process has ended without saying that it would.
      case ended
      /// It says nothing any more: stopped, or its host is cut off.
      case silent
      /// It does nothing new.
      case stuck
      /// It never said a word.
      case missing
    }
    package var kind: Kind
    package var rank: Int
    /// When it happened, or when the rank was last heard or seen to move.
    package var since: Double
    /// A sentence for the user.
    package var text: String
  }

  private struct Rank {
    var host: String
    var process: Int32
    var report = RankReport()
    var lastHeard: Double
    var lastMove: Double
    /// When it entered its phase.
    var phaseStart: Double
    var closed: Double?
    var isDone = false
    /// The longest times from which it went on, by phase: without a move, and in the whole phase.
    var longestPause: [JobPhase: Double] = [:]
    var longestPhase: [JobPhase: Double] = [:]

    var movesInPhase: Int { report.moves - report.movesAtEntry }
  }

  private let limits: Limits
  private var start: Double
  private var ranks: [Rank?]

  package init(rankCount: Int, limits: Limits, now: Double) {
    self.limits = limits
    start = now
    ranks = [Rank?](repeating: nil, count: rankCount)
  }

  // MARK: Events

  package mutating func hello(rank: Int, host: String, process: Int32, now: Double) {
    ranks[rank] = Rank(
      host: host, process: process, lastHeard: now, lastMove: now, phaseStart: now)
  }

  package mutating func report(_ report: RankReport, rank index: Int, now: Double) {
    guard var rank = ranks[index] else { return }
    rank.lastHeard = now
    let phase = rank.report.phase
    if report.moves != rank.report.moves {
      rank.longestPause[phase] = max(rank.longestPause[phase] ?? 0, now - rank.lastMove)
      rank.lastMove = now
    }
    if report.entries != rank.report.entries {
      rank.longestPhase[phase] = max(rank.longestPhase[phase] ?? 0, now - rank.phaseStart)
      rank.phaseStart = now
    }
    rank.report = report
    ranks[index] = rank
  }

  /// The rank has said that it ends.
  package mutating func done(rank: Int) { ranks[rank]?.isDone = true }

  /// The rank's connection has closed.
  package mutating func closed(rank: Int, now: Double) { ranks[rank]?.closed = now }

  /// The judge itself stood still and could not hear anybody.
  package mutating func paused(_ seconds: Double) {
    start += seconds
    for index in ranks.indices {
      ranks[index]?.lastHeard += seconds
      ranks[index]?.lastMove += seconds
      ranks[index]?.phaseStart += seconds
    }
  }

  // MARK: What is known

  /// Whether every rank has said that it ends.
  package var haveAllEnded: Bool { ranks.allSatisfy { $0?.isDone ?? false } }

  /// Whether any rank has spoken.
  package var hasHeardAny: Bool { ranks.contains { $0 != nil } }

  /// The step that the ranks have come to.
  package var step: Int { ranks.compactMap { $0?.report.step }.max() ?? 0 }

  /// Hosts and process numbers of the ranks that have spoken.
  package var processes: [(host: String, process: Int32)] {
    ranks.compactMap { $0.map { ($0.host, $0.process) } }
  }

  /// Host and process number of a rank; nil for a rank that never spoke.
  package func process(ofRank rank: Int) -> (host: String, process: Int32)? {
    ranks.indices.contains(rank) ? ranks[rank].map { ($0.host, $0.process) } : nil
  }

  /// `(pid 4711) in phase step, step 12`; nil for a rank that never spoke.
  package func place(ofRank rank: Int) -> (process: Int32, text: String)? {
    guard ranks.indices.contains(rank), let rank = ranks[rank] else { return nil }
    return (rank.process, rank.report.text)
  }

  // MARK: Judging

  /// What is wrong now, if anything.
  package func verdict(now: Double) -> Verdict? {
    ended() ?? silent(now: now) ?? stuck(now: now) ?? missing(now: now)
  }

  private var present: [(index: Int, rank: Rank)] {
    ranks.enumerated().compactMap { index, rank in rank.map { (index, $0) } }
  }

  private func name(_ index: Int, _ rank: Rank) -> String {
    "rank \(index) on \(rank.host) (pid \(rank.process))"
  }

  private func ended() -> Verdict? {
    let ended = present.filter { $0.rank.closed != nil && !$0.rank.isDone }
    guard let first = ended.min(by: { ($0.rank.closed ?? 0) < ($1.rank.closed ?? 0) }) else {
      return nil
    }
    return Verdict(
      kind: .ended, rank: first.index, since: first.rank.closed ?? 0,
      text: "\(name(first.index, first.rank)) has ended without a word in "
        + first.rank.report.text)
  }

  private func silent(now: Double) -> Verdict? {
    let silent = present.filter {
      $0.rank.closed == nil && now - $0.rank.lastHeard > limits.silence
    }
    guard let first = silent.min(by: { $0.rank.lastHeard < $1.rank.lastHeard }) else {
      return nil
    }
    var text =
      "\(name(first.index, first.rank)) has been silent for "
      + "\(Self.seconds(now - first.rank.lastHeard)) s in \(first.rank.report.text); "
      + "it is stopped, or its host is cut off"
    let others = silent.filter { $0.index != first.index }.map { "\($0.index)" }
    if !others.isEmpty {
      text +=
        "; also silent: \(others.count == 1 ? "rank" : "ranks") "
        + others.prefix(16).joined(separator: ", ") + (others.count > 16 ? ", ..." : "")
    }
    return Verdict(kind: .silent, rank: first.index, since: first.rank.lastHeard, text: text)
  }

  /// The rank that is behind is to blame, not those that wait for it: the one that has entered the
  /// fewest collectives, and of those one that does not wait.
  private func stuck(now: Double) -> Verdict? {
    let running = present.filter { $0.rank.closed == nil && !$0.rank.isDone }
    func order(_ rank: Rank) -> (Int, Int, Double) {
      (rank.report.collectives, rank.report.operation.isEmpty ? 0 : 1, rank.lastMove)
    }
    guard let behind = running.min(by: { order($0.rank) < order($1.rank) }) else { return nil }
    let rank = behind.rank
    guard let excess = excess(rank, now: now) else { return nil }
    let others = running.filter { $0.index != behind.index }
    let text: String
    if rank.report.operation.isEmpty {
      let waiting = others.count { !$0.rank.report.operation.isEmpty }
      text =
        "\(name(behind.index, rank)) \(excess.text)"
        + (waiting == 0 ? "" : "; \(waiting) others wait for it")
    } else if others.allSatisfy({ $0.rank.report.collectives == rank.report.collectives }) {
      // A rank may have come to this collective just now.
      guard others.allSatisfy({ self.excess($0.rank, now: now) != nil }) else { return nil }
      text =
        "\(name(behind.index, rank)) \(excess.text)"
        + (others.isEmpty
          ? ""
          : "; it came first, and all \(running.count) ranks wait: the network or MPI does not move")
    } else {
      text = "\(name(behind.index, rank)) is behind: it \(excess.text)"
    }
    return Verdict(kind: .stuck, rank: behind.index, since: excess.since, text: text)
  }

  /// What a rank has done for too long, if anything: nothing new, or one phase.
  private func excess(_ rank: Rank, now: Double) -> (since: Double, text: String)? {
    let phase = rank.report.phase
    let minimum = limits.minimum(phase)
    func text(_ what: String, _ since: Double, _ limit: Double) -> (since: Double, text: String)? {
      guard now - since > limit else { return nil }
      return (
        since,
        "\(what) for \(Self.seconds(now - since)) s (limit \(Self.seconds(limit)) s) in "
          + rank.report.text
      )
    }
    let pause = max(minimum, limits.factor * (longest(\.longestPause, phase) ?? 0))
    if let found = text("has made no progress", rank.lastMove, pause) { return found }
    // What moves inside a phase may go round in circles: the whole phase counts, too.
    if let longest = longest(\.longestPhase, phase) {
      return text(
        "has not come to an end", rank.phaseStart, max(minimum, limits.factor * longest))
    }
    let limit = isInCircles(rank) ? minimum : limits.firstFactor * minimum
    return text("has not come to an end", rank.phaseStart, limit)
  }

  /// The longest time seen in a phase. Each rank has its own, and the shortest of these counts: a
  /// rank that waits for another one, which still writes a checkpoint, is not slow itself.
  private func longest(_ times: KeyPath<Rank, [JobPhase: Double]>, _ phase: JobPhase) -> Double? {
    present.compactMap { $0.rank[keyPath: times][phase] }.min()
  }

  /// Whether a rank has moved far more often in its step than one that is through with it: all ask
  /// for the same slabs of the base.
  private func isInCircles(_ rank: Rank) -> Bool {
    rank.report.phase == .step
      && present.contains {
        $0.rank.report.entries == rank.report.entries
          && $0.rank.report.collectives > rank.report.collectives
          && rank.movesInPhase / 2 - 32 > $0.rank.movesInPhase
      }
  }

  private func missing(now: Double) -> Verdict? {
    let limit = max(60, limits.minimum(.starting))
    guard hasHeardAny, now - start > limit, let index = ranks.firstIndex(where: { $0 == nil })
    else { return nil }
    return Verdict(
      kind: .missing, rank: index, since: start,
      text: "rank \(index) has not started within \(Self.seconds(limit)) s")
  }

  /// One digit after the point.
  private static func seconds(_ value: Double) -> String {
    let tenths = Int((value * 10).rounded())
    return tenths % 10 == 0 ? "\(tenths / 10)" : "\(tenths / 10).\(tenths % 10)"
  }
}
