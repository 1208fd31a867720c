//! The same by two hosts that mount one share of an NFS server, in a VM.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use object_store_localfs::Exclusion;

use crate::parties::{Party, Worker};
use crate::{
    Client, Parties, assert_counts, assert_counts_while_killed, assert_linearizable, faults, store,
    vm,
};

macro_rules! in_vm {
    ($($test:ident),+ $(,)?) => {
        /// All in one VM, one after another: what it printed.
        fn printed() -> &'static str {
            static PRINTED: OnceLock<String> = OnceLock::new();
            PRINTED.get_or_init(|| {
                vm::run_tests(&[$(concat!("two_hosts::", stringify!($test))),+])
            })
        }

        $(
            #[test]
            fn $test() {
                if vm::is_here() {
                    return inside::$test();
                }
                let passed = concat!("passed: two_hosts::", stringify!($test));
                assert!(printed().lines().any(|line| line == passed), "{}", printed());
            }
        )+
    };
}

in_vm![
    two_hosts_count,
    two_hosts_whose_processes_are_killed_count,
    what_two_hosts_do_has_an_order,
    what_processes_of_one_host_do_has_an_order,
    hosts_that_exclude_only_their_own_processes_are_found,
];

mod inside {
    use super::*;

    const SHARE: &str = "/share";

    fn on(host: &str) -> Vec<String> {
        let of = std::fs::read_to_string(format!("/run/{host}")).unwrap();
        let words = format!("busybox nsenter -t {} -n -u -m -i", of.trim());
        words.split(' ').map(String::from).collect()
    }

    fn start(host: &str, number: usize, dir: &Path, exclusion: Exclusion) -> Worker {
        let on = on(host);
        let on: Vec<_> = on.iter().map(String::as_str).collect();
        Worker::start(&on, number, dir, exclusion)
    }

    fn on_hosts(hosts: &[&str], dir: &Path, exclusion: Exclusion) -> Parties {
        let hosts = hosts.iter().enumerate();
        hosts
            .map(|(n, host)| Box::new(start(host, n, dir, exclusion)) as Box<dyn Party>)
            .collect()
    }

    /// A new directory of the share, as the server has it and as the hosts do.
    fn fresh() -> (std::path::PathBuf, std::path::PathBuf) {
        let here = tempfile::tempdir_in("/export/share").unwrap().keep();
        let there = Path::new(SHARE).join(here.file_name().unwrap());
        (here, there)
    }

    /// A process each. Where another process of the host has the object open, Linux makes two
    /// requests of a rename over it, first to a name `.nfs…`: between them nothing is there for
    /// other hosts (fs/nfs/dir.c; measured, Linux 6.1).
    const BOTH: [&str; 2] = ["a", "b"];

    pub(super) fn two_hosts_count() {
        let (here, there) = fresh();
        let parties = on_hosts(&BOTH, &there, Exclusion::OtherHosts);
        assert_counts(parties, &here, 25);
    }

    pub(super) fn two_hosts_whose_processes_are_killed_count() {
        let (here, there) = fresh();
        let start = |n: usize| start(BOTH[n], n, &there, Exclusion::OtherHosts);
        let counter = Client::new(Arc::new(store(&here, Exclusion::OtherHosts)), 0);
        assert_counts_while_killed(
            &start,
            BOTH.len(),
            &counter,
            (12, Duration::from_millis(300)),
        );
    }

    pub(super) fn what_two_hosts_do_has_an_order() {
        let (_, there) = fresh();
        assert_linearizable(on_hosts(&BOTH, &there, Exclusion::OtherHosts), 20);
    }

    pub(super) fn what_processes_of_one_host_do_has_an_order() {
        let (_, there) = fresh();
        assert_linearizable(on_hosts(&["a"; 4], &there, Exclusion::OtherProcesses), 10);
    }

    /// That the VM has two hosts, and the checker finds it.
    pub(super) fn hosts_that_exclude_only_their_own_processes_are_found() {
        let (_, there) = fresh();
        let mut parties = on_hosts(&BOTH, &there, Exclusion::OtherProcesses);
        let faults = faults(&mut parties, 40);
        println!(
            "{} of 40 histories, such as {:?}",
            faults.len(),
            faults.first()
        );
        assert!(!faults.is_empty());
    }
}
