//! The command line: arguments in, an engine or a file out.

mod cli;

use std::process::ExitCode;

// Sockets and symbols come and go on the cold paths of a long run: an allocator that does not fragment.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A huge page is cleared whole when it is first touched: a stall in the middle of a turn, and memory that nobody asked for.
    // Where the system has none there is nothing to turn off.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    cli::run()
}
