import Compute
import ComputeCPU
import GoldenReference
import Model
import Support
import TestSupport
import Testing
import Trainer

/// Logits and gradients of the reference before any optimizer moves.
@Suite(.enabled(if: Reference.isAvailable, "\(Reference.reason)"))
struct FirstStepTests {
  /// Largest relative errors of logits and gradients, by Euclidean norms. In bfloat16 the
  /// reference keeps all activations in that type, we do not.
  private func tolerances(_ golden: TrajectoryCase) -> (logits: Double, gradients: Double) {
    golden.isBFloat16 ? (3e-2, 8e-2) : (1e-5, 1e-4)
  }

  private func makeRun(_ golden: TrajectoryCase, adapter: String) throws -> GoldenRun {
    try golden.makeRun(
      adapter: adapter, on: CPUBackend(threadCount: 1, precision: golden.precision))
  }

  private func directory(_ golden: TrajectoryCase) -> String {
    "\(Reference.directory)/trajectories/\(golden.name)"
  }

  /// The adapters' gradients of packs, accumulated.
  private func gradients(_ run: GoldenRun, _ packs: [PackInput], routerLossScale: Double) throws
    -> (gradients: [Float], losses: [Double], routerLosses: [Double])
  {
    let gradients = Tensor(
      storage: try run.backend.makeStorage(byteCount: 4 * run.layout.elementCount),
      columns: run.layout.elementCount)
    let targets = packs.reduce(0) { $0 + $1.targets.count }
    var losses: [Double] = []
    var routerLosses: [Double] = []
    for pack in packs {
      let pass = try run.model.forward(pack, retention: .activations)
      let loss = try run.model.loss(
        pass, gradientScale: Float(1 / Double(targets)), gradients: gradients)
      try run.model.backward(pass, routerLossScale: routerLossScale, gradients: gradients)
      losses.append(loss.lossSum / Double(targets))
      routerLosses.append(try run.model.routerLoss(pass))
    }
    return (try run.backend.download(gradients), losses, routerLosses)
  }

  private func expectGradients(
    _ ours: [Float], _ layout: AdapterLayout, _ path: String, tolerance: Double
  ) throws {
    let theirs = try AdapterFile.values(of: SafetensorsFile(path: path), layout: layout)
    for entry in layout.entries {
      for (name, range) in [("A", entry.rangeA), ("B", entry.rangeB)] {
        let error = normalizedError(
          ours[range].map(Double.init), theirs[range].map(Double.init)
        ).squareRoot()
        #expect(error <= tolerance, "\(entry.module) \(name): \(error)")
      }
    }
  }

  @Test(arguments: TrajectoryCase.all)
  func gradientsOfTheFirstStep(_ golden: TrajectoryCase) throws {
    let run = try makeRun(golden, adapter: "init_adapter")
    let packs = Array(try Reference.packs()[..<2])
    // The reference's coefficient counts each of the two packs.
    let result = try gradients(
      run, packs, routerLossScale: golden.routerLossCoefficient / 2)
    try expectGradients(
      result.gradients, run.layout, "\(directory(golden))/step1_grads_preclip.safetensors",
      tolerance: tolerances(golden).gradients)
  }

  @Test(arguments: TrajectoryCase.all)
  func gradientsWithARandomB(_ golden: TrajectoryCase) throws {
    let run = try makeRun(golden, adapter: "randB_adapter")
    let settings = try FileSystem.readJSON("\(directory(golden))/README.json")
    let check = try #require(settings["gradcheck_randB"])
    let coefficient = golden.routerLossCoefficient / 2
    let result = try gradients(
      run, [Reference.packs()[0]], routerLossScale: coefficient)
    try expectGradients(
      result.gradients, run.layout, "\(directory(golden))/randB_grads.safetensors",
      tolerance: tolerances(golden).gradients)
    let tolerance = golden.isBFloat16 ? 2e-2 : 1e-6
    let loss = try #require(check["loss"]?.doubleValue)
    let total = result.losses[0] + coefficient * result.routerLosses[0]
    #expect(abs(total - loss) <= tolerance * loss, "\(total), not \(loss)")
    if golden.routerLossCoefficient > 0 {
      let routerLoss = try #require(check["aux_loss"]?.doubleValue)
      #expect(abs(result.routerLosses[0] - routerLoss) <= 1e-6 * routerLoss)
    }
  }

  @Test(
    arguments: TrajectoryCase.all,
    [
      ("randB_adapter", "randB_logits"), ("init_adapter", "logits_first_batch_init"),
      ("final_adapter", "logits_first_batch_final"),
    ])
  func logits(_ golden: TrajectoryCase, names: (adapter: String, logits: String)) throws {
    let run = try makeRun(golden, adapter: names.adapter)
    let theirs = try NumPyFile(path: "\(directory(golden))/\(names.logits).npy")
    let V = run.base.configuration.vocabularySize
    try #require(theirs.shape == [2, 64, V])
    let pack = try Reference.packs()[0]
    let arena = Arena(storage: try run.backend.makeStorage(byteCount: 1 << 26), name: "logits")
    let model = try CausalLM(
      configuration: run.base.configuration, layouts: run.base.layouts, stream: run.base.stream,
      adapters: AdapterWeights(layout: run.layout, values: run.weights), positionCount: 64,
      arena: arena, backend: run.backend)
    let pass = try model.forward(pack, retention: .nothing)
    let count = pack.boundaries[2]
    let ours = try run.backend.download(model.logits(pass, rows: Array(0..<Int32(count))))
    // The reference pads rows to 64 tokens.
    let expected = (0..<2).flatMap { row in
      let length = pack.boundaries[row + 1] - pack.boundaries[row]
      return theirs.values[row * 64 * V..<(row * 64 + length) * V]
    }
    let error = normalizedError(ours.map(Double.init), expected.map(Double.init)).squareRoot()
    #expect(error <= tolerances(golden).logits, "\(error)")
  }

  /// The same weights in two types, one of them in two files with an index.
  @Test func shardsInBFloat16AreOneFileInFloat32() throws {
    let names = ["tiny-mixtral-f32", "tiny-mixtral-bf16"]
    let runs = try names.map {
      try GoldenRun(
        model: $0, adapter: "tiny-mixtral-experts/randB_adapter", on: CPUBackend(threadCount: 1))
    }
    let pack = try Reference.packs()[0]
    let results = try runs.map { try gradients($0, [pack], routerLossScale: 0.1) }
    #expect(abs(results[0].losses[0] - results[1].losses[0]) <= 1e-7 * results[0].losses[0])
    let error = normalizedError(
      results[0].gradients.map(Double.init), results[1].gradients.map(Double.init)
    ).squareRoot()
    #expect(error <= 1e-6, "\(error)")
  }

  @Test func adaptersOverFusedExpertsAreRefused() throws {
    let model = "\(Reference.directory)/models/tiny-mixtral-f32"
    let error = #expect(throws: UserError.self) {
      try AdapterFile(
        directory: "\(Reference.directory)/trajectories/tiny-mixtral-experts-v5fused/init_adapter",
        configuration: ModelConfiguration(directory: model),
        base: .files(ModelFiles(directory: model)))
    }
    #expect(error?.message.hasPrefix("target_parameters") == true)
    #expect(error?.fix.contains("single experts") == true)
  }

  /// A wrong adapter must not pass: tolerances are far below what an adapter changes.
  @Test func theAdapterMovesTheLogits() throws {
    let folder = "\(Reference.directory)/trajectories/bf16-tiny-llama"
    let first = try NumPyFile(path: "\(folder)/logits_first_batch_init.npy").values
    let last = try NumPyFile(path: "\(folder)/logits_first_batch_final.npy").values
    #expect(normalizedError(first.map(Double.init), last.map(Double.init)).squareRoot() > 5e-2)
  }
}
