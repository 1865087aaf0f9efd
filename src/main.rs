//! The program: parses the arguments, runs the command and returns its exit code. All of that is in the library, which
//! tests and benchmarks use, too.

fn main() -> std::process::ExitCode {
    pouch::main()
}
