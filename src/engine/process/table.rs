//! The processes of this machine as `/proc` tells of them at one moment, proc(5).

use std::fs;

use super::MARKER;

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub pid: i32,
    pub parent: i32,
    pub group: i32,
    pub session: i32,
    /// In clock ticks since boot.
    pub start_time: u64,
    /// The value of its marker, if it bears one that can be read.
    pub marker: Option<String>,
}

/// All processes that run, zombies left out: those have ended. Markers are read of those that were started at `since` or
/// later. A process that ends meanwhile may be missing.
pub(super) fn read(since: u64) -> Vec<Seen> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: i32| {
        let mut seen = stat(pid)?;
        if seen.start_time >= since {
            seen.marker = marker_of(pid);
        }
        Some(seen)
    })
    .collect()
}

/// A process without its marker; `None` where it has ended.
pub(super) fn stat(pid: i32) -> Option<Seen> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse(pid: i32, stat: &str) -> Option<Seen> {
    // The name in parentheses may hold anything; the fields behind it start with the third.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    let mut id = || fields.next()?.parse().ok();
    let (parent, group, session) = (id()?, id()?, id()?);
    let start_time = fields.nth(15)?.parse().ok()?;
    Some(Seen { pid, parent, group, session, start_time, marker: None })
}

/// The value of a process's marker, if it bears one that can be read.
pub(super) fn marker_of(pid: i32) -> Option<String> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut variables = environment.split(|byte| *byte == 0);
    let value = variables.find_map(|variable| variable.strip_prefix(MARKER.as_bytes())?.strip_prefix(b"="))?;
    String::from_utf8(value.to_vec()).ok()
}

/// When the kernel started a process, in clock ticks since boot.
pub(in crate::engine) fn start_time(pid: i32) -> Option<u64> {
    Some(stat(pid)?.start_time)
}

/// Which boot of this machine this is, as a number: start times of two boots say nothing of each other.
pub(in crate::engine) fn boot() -> u64 {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = id.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    u64::from_str_radix(&digits, 16).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_anything_in_it_does_not_shift_the_fields() {
        let rest = "S 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 2200 21";
        let seen = parse(7, &format!("7 (a) Z (b) {rest}")).unwrap();
        assert_eq!((seen.parent, seen.group, seen.session, seen.start_time), (2, 3, 4, 2200));
        assert_eq!(parse(7, "7 (x) Z 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20"), None);
        assert_eq!(parse(7, "7 (x) S 2 3"), None);
    }

    #[test]
    fn this_process_is_in_the_table() {
        let own = i32::try_from(std::process::id()).unwrap();
        let seen = read(u64::MAX).into_iter().find(|seen| seen.pid == own).unwrap();
        assert_eq!(Some(seen.start_time), start_time(own));
        assert_ne!(boot(), 0);
    }
}
