/// What `accelerate-swift --version` prints and what runs and checkpoints record.
package let programVersion = "0.1.0"
