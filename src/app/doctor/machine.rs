//! What the system lends: descriptors, memory, and what workers' programs are held and ended by.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::process::{PidfdFlags, Resource, getpid, getrlimit, pidfd_open};

use super::Finding;
use crate::engine::{CgroupRoot, EngineLimits, Profiles, control_group_root};
use crate::model::ProfileSelector;
use crate::server::Edge;

/// What one worker takes: three pipes, its pidfd and a stream of the store's.
const DESCRIPTORS_OF_A_WORKER: u64 = 5;
/// What is open beside connections and workers.
const DESCRIPTORS_BESIDE: u64 = 64;
/// With less there is little to come.
const LITTLE_MEMORY: u64 = 256 << 20;

/// What there is to say of the machine, for a server that runs workers within these limits, or none.
pub(super) fn of(edge: &Edge, limits: Option<&EngineLimits>) -> Vec<Finding> {
    let mut findings = vec![descriptors(edge, limits.map_or(0, |limits| limits.max_workers)), memory()];
    if let Some(limits) = limits {
        findings.push(pidfd());
        findings.push(control_groups(&limits.cgroup));
    }
    findings
}

fn descriptors(edge: &Edge, workers: u32) -> Finding {
    const WHAT: &str = "open files";
    let connections = u64::try_from(edge.max_connections).unwrap_or(u64::MAX);
    let wanted = connections + u64::from(workers) * DESCRIPTORS_OF_A_WORKER + DESCRIPTORS_BESIDE;
    let beside = format!("{wanted} are enough for {connections} connections and {workers} workers");
    match getrlimit(Resource::Nofile).maximum {
        Some(most) if most < wanted => {
            let advice = "raise the hard limit (LimitNOFILE= in a unit, ulimit -Hn): the soft one is raised by itself";
            Finding::warn(WHAT, format!("at most {most} here; {beside}"), advice)
        }
        Some(most) => Finding::ok(WHAT, format!("at most {most} here; {beside}")),
        None => Finding::ok(WHAT, "without a limit"),
    }
}

fn memory() -> Finding {
    const WHAT: &str = "memory";
    // proc_meminfo(5): in KiB.
    let left = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    });
    let Some(left) = left.map(|kib| kib << 10) else {
        return Finding::warn(WHAT, "not to be learnt: /proc/meminfo cannot be read", "mount /proc");
    };
    let seen = format!("{} MiB are available", left >> 20);
    if left < LITTLE_MEMORY {
        Finding::warn(WHAT, seen, "make room: each worker's program may use up to 2 GiB of its own")
    } else {
        Finding::ok(WHAT, seen)
    }
}

/// Without it no program's end would be known.
fn pidfd() -> Finding {
    const WHAT: &str = "pidfd_open";
    match pidfd_open(getpid(), PidfdFlags::empty()) {
        Ok(_) => Finding::ok(WHAT, "the kernel has it"),
        Err(error) => {
            let advice =
                "use Linux 5.3 or later, and let a seccomp filter allow the call: no program can be run without it";
            Finding::fail(WHAT, error.to_string(), advice)
        }
    }
}

/// Where each worker could have a control group of its own, seen from where this was started.
fn control_groups(asked: &CgroupRoot) -> Finding {
    const WHAT: &str = "control groups";
    const WITHOUT: &str = "workers are ended by process groups and markers, and have no limits of memory and processes";
    const LEND: &str = "lend one: Delegate=yes in a unit, or `cgroup` in [limits] and a directory that belongs to the \
                        server's user";
    let root = match (control_group_root(asked), asked) {
        (Some(root), _) => root,
        (None, CgroupRoot::Off) => return Finding::ok(WHAT, format!("turned off by [limits] cgroup: {WITHOUT}")),
        (None, _) => return Finding::warn(WHAT, format!("none (v2) is lent here: {WITHOUT}"), LEND),
    };
    let name = root.display();
    if !root.is_dir() {
        return Finding::fail(WHAT, format!("{name} is not there"), "make it, or correct `cgroup` in [limits]");
    }
    let writable = |path: &Path| access(path, Access::WRITE_OK).is_ok();
    if !writable(&root) || !writable(&root.join("cgroup.procs")) {
        let seen = format!("{name} cannot be written to from here: {WITHOUT}");
        return Finding::warn(WHAT, seen, format!("{LEND}; a unit's own group is seen only within the unit"));
    }
    let controllers = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
    let lacks: Vec<_> =
        ["memory", "pids"].into_iter().filter(|it| !controllers.split_whitespace().any(|has| has == *it)).collect();
    if !lacks.is_empty() {
        let seen = format!("{name} lacks the controllers {}: these limits are not set", lacks.join(" and "));
        return Finding::warn(WHAT, seen, "enable them in cgroup.subtree_control above it");
    }
    Finding::ok(WHAT, format!("{name} can be written to: each worker has one of its own"))
}

/// Whether the programs of the profiles are there.
pub(super) fn programs(profiles: &Profiles) -> Vec<Finding> {
    let found = profiles.iter().filter_map(|(selector, profile)| {
        let program = profile.command.first()?;
        let what = format!("profile {}", name_of(selector));
        if let Some(cwd) = profile.cwd.as_ref().filter(|cwd| !cwd.is_dir()) {
            let seen = format!("{}, where it is to run, is no directory", cwd.display());
            return Some(Finding::warn(what, seen, "make it, or correct `cwd`: its workers do not start"));
        }
        let at = profile.cwd.clone().unwrap_or_default();
        let path = profile.env.get("PATH").cloned().or_else(|| crate::config::process_environment("PATH"));
        Some(if let Some(place) = find(program, &at, &path.unwrap_or_default()) {
            Finding::ok(what, format!("runs {}", place.display()))
        } else {
            let advice = "install it, or correct `command`: its workers do not start";
            Finding::warn(what, "its program is not there, or may not be executed", advice)
        })
    });
    found.collect()
}

fn name_of(selector: &ProfileSelector) -> String {
    match selector {
        ProfileSelector::RuntimeDefault => "runtime_default".to_owned(),
        ProfileSelector::Builtin(name) | ProfileSelector::Named(name) => name.clone(),
    }
}

/// Where a program is that is to be executed in a directory: exec(3).
fn find(program: &str, at: &Path, path: &str) -> Option<PathBuf> {
    let is_there = |place: &PathBuf| place.is_file() && access(place, Access::EXEC_OK).is_ok();
    if program.contains('/') {
        return Some(at.join(program)).filter(is_there);
    }
    std::env::split_paths(path).map(|dir| at.join(dir).join(program)).find(is_there)
}
