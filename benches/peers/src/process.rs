//! What this process uses.

use std::time::Duration;

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};

/// Processor time of all threads since the start.
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The most memory that was ever resident, in bytes.
pub fn peak_memory() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .context("the kernel does not say VmHWM")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib * 1024.0)
}

/// Waits until nothing works in the background, so that what a contestant puts off is not in another's time.
pub async fn settle() {
    const LOOK: Duration = Duration::from_millis(3);
    const QUIET: Duration = Duration::from_micros(300);
    const LOOKS: usize = 700;
    let mut quiet = 0;
    for _ in 0..LOOKS {
        let before = cpu_time();
        tokio::time::sleep(LOOK).await;
        let idle = cpu_time() - before < QUIET && !waits_for_disk();
        quiet = if idle { quiet + 1 } else { 0 };
        if quiet == 2 {
            return;
        }
    }
}

/// Whether a thread of this process sleeps in the kernel for the disk, as a checkpoint does.
fn waits_for_disk() -> bool {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else {
        return false;
    };
    threads.flatten().any(|thread| {
        // The state follows the name, which stands in brackets.
        std::fs::read_to_string(thread.path().join("stat"))
            .ok()
            .and_then(|stat| {
                stat.rsplit_once(") ")
                    .map(|(_, rest)| rest.starts_with('D'))
            })
            .unwrap_or(false)
    })
}
