//! What a process or thread costs, as the kernel tells it under `/proc`.

use std::fs;
use std::ops::Sub;

/// CPU time of a thread, or of all threads of a process.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// Time on a processor, ns.
    pub ran_ns: u64,
    /// Time ready to run while others ran, ns: not zero where processors are short.
    pub waited_ns: u64,
}

impl Sub for Effort {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            ran_ns: self.ran_ns.saturating_sub(before.ran_ns),
            waited_ns: self.waited_ns.saturating_sub(before.waited_ns),
        }
    }
}

/// A process at one instant.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// All of its threads that are still there.
    pub effort: Effort,
    /// Time in its own code, in the kernel's ticks.
    pub user_ticks: u64,
    /// Time in the kernel on its behalf, in ticks.
    pub system_ticks: u64,
    /// Resident memory, bytes.
    pub rss_bytes: u64,
}

/// What this thread has cost until now; zeros where the kernel does not tell.
pub fn own_effort() -> Effort {
    fs::read_to_string("/proc/thread-self/schedstat").ok().and_then(|text| effort(&text)).unwrap_or_default()
}

/// A process now; `None` where there is none, or it is not ours to see.
pub fn snapshot(pid: u32) -> Option<Snapshot> {
    let mut all = Effort::default();
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        // A thread may end meanwhile.
        if let Some(one) =
            fs::read_to_string(task.path().join("schedstat")).ok().and_then(|text| effort(&text))
        {
            all.ran_ns += one.ran_ns;
            all.waited_ns += one.waited_ns;
        }
    }
    let (user_ticks, system_ticks) = ticks(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
    let rss_bytes = rss(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)?;
    Some(Snapshot { effort: all, user_ticks, system_ticks, rss_bytes })
}

/// `ran waited slices`, the first two in ns: `Documentation/scheduler/sched-stats.rst` of Linux.
fn effort(text: &str) -> Option<Effort> {
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    Some(Effort { ran_ns: numbers.next()?.ok()?, waited_ns: numbers.next()?.ok()? })
}

/// Fields 14 and 15 of proc_pid_stat(5). The name before them may hold spaces and brackets.
fn ticks(text: &str) -> Option<(u64, u64)> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11).map(str::parse);
    Some((fields.next()?.ok()?, fields.next()?.ok()?))
}

fn rss(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_read() {
        assert_eq!(effort("123 456 7\n"), Some(Effort { ran_ns: 123, waited_ns: 456 }));
        assert_eq!(effort("123\n"), None);
        let stat = "77 (a ) b) S 1 2 3 4 5 6 7 8 9 10 1111 2222 0 0 20 0 1";
        assert_eq!(ticks(stat), Some((1111, 2222)));
        assert_eq!(rss("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2048 * 1024));
        assert_eq!(rss(""), None);
    }

    #[test]
    fn this_process_can_be_seen() {
        let seen = snapshot(std::process::id()).unwrap();
        assert!(seen.rss_bytes > 0);
        assert!(snapshot(u32::MAX).is_none());
    }
}
