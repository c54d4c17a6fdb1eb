internal import Compute
internal import DistributedTraining
internal import Support

/// How products are computed, for all ranks: rank 0 chooses before the first step. A resumed run goes
/// on with the choices of its checkpoint where it can.
enum ProductAgreement {
  static let fileName = "products.json"

  /// - Parameters:
  ///   - sizes: of the products of the run, from its plan.
  ///   - known: of the checkpoint, on rank 0.
  ///   - backend: chooses on rank 0, and takes the choices over on all ranks.
  ///   - group: the ranks.
  ///   - reporter: is told when other choices are made than the checkpoint has.
  /// - Returns: the choices; nil on devices that have none to make.
  /// - Throws: ``UserError`` of a rank whose device or library is another than rank 0's.
  static func settle(
    _ sizes: [ProductSizes], known: ProductChoices?, backend: any Backend,
    group: any ProcessGroup, reporter: Reporter
  ) throws -> ProductChoices? {
    var text = ""
    if group.rank == 0 {
      let choices = try backend.chooseProducts(sizes, keeping: known)
      if let choices, let known, !choices.hasSameOrigin(as: known) {
        reporter.note(
          "note: the algorithms of products are chosen anew for \(choices.device) with "
            + "\(choices.library); the checkpoint's are of \(known.device) with \(known.library), so "
            + "the last bits of results may differ from those of a run that was never stopped")
      }
      text = choices?.text ?? ""
    }
    text = try group.broadcast(text)
    if text.isEmpty { return nil }
    let choices = try ProductChoices(Array(text.utf8), at: "rank 0")
    do throws(ComputeError) {
      try backend.adoptProducts(choices)
    } catch {
      throw UserError(.system, at: "rank \(group.rank)", "\(error)")
    }
    return choices
  }
}
