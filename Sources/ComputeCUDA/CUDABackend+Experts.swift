package import Compute

extension CUDABackend {
  /// Entries that one block of the sorting kernels takes.
  private static let sortChunk = 1024
  /// Rows of counts: one for each chunk, and their sum.
  static func countRows(_ entries: Int) -> Int { (entries + sortChunk - 1) / sortChunk + 1 }

  package func route(_ logits: Tensor, normalize: Bool, routing: Routing) throws(ComputeError)
    -> [Int]
  {
    let (T, E, K) = (logits.rows, logits.columns, routing.experts.columns)
    precondition(
      K <= E && routing.probabilities.count == T * E && routing.experts.rows == T
        && routing.weights.count == T * K && routing.tokenOfRow.count == T * K
        && routing.rowOfToken.count == T * K && routing.probabilitySums.count == E,
      "route: shapes differ")
    try launch(
      "route_tokens", LaunchGrid((T + 3) / 4),
      [
        KernelArgument(logits), KernelArgument(routing.probabilities),
        KernelArgument(routing.experts), KernelArgument(routing.weights), KernelArgument(Int32(T)),
        KernelArgument(Int32(E)), KernelArgument(Int32(K)),
        KernelArgument(Int32(normalize ? 1 : 0)),
      ])
    try launch(
      "sum_probabilities", LaunchGrid(E),
      [
        KernelArgument(routing.probabilities), KernelArgument(routing.probabilitySums),
        KernelArgument(Int32(T)), KernelArgument(Int32(E)),
      ])

    // Rows by expert, then token: counts of chunks, their prefix sums, and a place for each entry.
    let rows = T * K
    let counts = try workspace.tensor(
      .counts, rows: Self.countRows(rows), columns: E, .int32)
    let chunks = counts.rows - 1
    let totals = counts.rows(chunks..<chunks + 1)
    try launch(
      "count_rows", LaunchGrid(chunks),
      [
        KernelArgument(routing.experts), KernelArgument(counts), KernelArgument(Int32(rows)),
        KernelArgument(Int32(E)),
      ])
    try launch(
      "start_rows", LaunchGrid(1),
      [
        KernelArgument(counts), KernelArgument(totals), KernelArgument(Int32(chunks)),
        KernelArgument(Int32(E)),
      ])
    try launch(
      "sort_rows", LaunchGrid(chunks),
      [
        KernelArgument(routing.experts), KernelArgument(counts),
        KernelArgument(routing.tokenOfRow), KernelArgument(routing.rowOfToken),
        KernelArgument(Int32(rows)), KernelArgument(Int32(E)), KernelArgument(Int32(K)),
      ])
    return try downloadInt32(totals).map(Int.init)
  }

  package func routeBackward(
    dweights: Tensor, normalize: Bool, probabilityGradient: Tensor, routing: Routing,
    dlogits: Tensor
  ) throws(ComputeError) {
    let (T, E, K) = (dlogits.rows, dlogits.columns, routing.experts.columns)
    precondition(dweights.count == T * K && probabilityGradient.count == E)
    try launch(
      "route_backward", LaunchGrid((T + 127) / 128),
      [
        KernelArgument(dweights), KernelArgument(probabilityGradient),
        KernelArgument(routing.probabilities), KernelArgument(routing.experts),
        KernelArgument(routing.weights), KernelArgument(dlogits), KernelArgument(Int32(T)),
        KernelArgument(Int32(E)), KernelArgument(Int32(K)),
        KernelArgument(Int32(normalize ? 1 : 0)),
      ])
  }

  package func gatherRows(_ x: Tensor, routing: Routing, out: Tensor) throws(ComputeError) {
    try selectRows(x, rows: routing.tokenOfRow, out: out)
  }

  package func gatherRowsBackward(_ dy: Tensor, routing: Routing, dx: Tensor)
    throws(ComputeError)
  {
    let (C, K) = (dx.columns, routing.experts.columns)
    precondition(dy.columns == C && dy.rows == dx.rows * K)
    try launch(
      "sum_expert_rows", LaunchGrid(dx.rows),
      [
        KernelArgument(dy), KernelArgument(routing.rowOfToken), KernelArgument(dx),
        KernelArgument(Int32(C)), KernelArgument(Int32(K)),
      ])
  }

  package func combineExperts(_ y: Tensor, routing: Routing, out: Tensor) throws(ComputeError) {
    let (C, K) = (out.columns, routing.experts.columns)
    precondition(y.columns == C && y.rows == out.rows * K)
    try launch(
      "combine_experts", LaunchGrid(out.rows),
      [
        KernelArgument(y), KernelArgument(routing.rowOfToken), KernelArgument(routing.weights),
        KernelArgument(out), KernelArgument(Int32(C)), KernelArgument(Int32(K)),
      ])
  }

  package func combineExpertsBackward(
    _ dout: Tensor, y: Tensor, routing: Routing, dy: Tensor, dweights: Tensor
  ) throws(ComputeError) {
    let (C, K) = (dout.columns, routing.experts.columns)
    precondition(y.rows == dout.rows * K && dy.count == y.count && dweights.count == y.rows)
    try launch(
      "combine_experts_backward", LaunchGrid(dout.rows),
      [
        KernelArgument(dout), KernelArgument(y), KernelArgument(routing.rowOfToken),
        KernelArgument(routing.weights), KernelArgument(dy), KernelArgument(dweights),
        KernelArgument(Int32(C)), KernelArgument(Int32(K)),
      ])
  }
}
