//! A VM with an NFS server and two hosts that mount it, made of a distribution's kernel
//! (`fetch-kernel`), this machine's programs and nothing else: no root, no network, no disk image.
//! It runs a test binary, which starts itself again there. LOCALFS_TEST_ACCEL=kvm makes it faster
//! where that works.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What the VM runs beside the job, and the packages that have it.
const PROGRAMS: [(&str, &str); 10] = [
    ("busybox", "busybox-static"),
    ("ip", "iproute2"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mount.nfs", "nfs-common"),
    ("rpc.statd", "nfs-common"),
    ("rpcbind", "rpcbind"),
    ("exportfs", "nfs-kernel-server"),
    ("rpc.mountd", "nfs-kernel-server"),
    ("rpc.nfsd", "nfs-kernel-server"),
    ("qemu-system-x86_64", "qemu-system-x86"),
];

/// With what they depend on.
const MODULES: [&str; 5] = ["loop", "veth", "nfsd", "nfsv3", "nfsv4"];

/// Where the VM's kernel is.
fn kernel() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-kernel")
}

/// A file of the VM: the bytes and the mode.
type Files = BTreeMap<PathBuf, (Vec<u8>, u32)>;

/// Set in the VM.
const INSIDE: &str = "LOCALFS_TEST_INSIDE_VM";

pub(crate) fn is_here() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs these tests of this test binary in one VM, one after another; answers with what they
/// printed: a line `passed: {test}` for each that did.
pub(crate) fn run_tests(tests: &[&str]) -> String {
    let mut job = format!("export {INSIDE}=1 RUST_BACKTRACE=0\n");
    for test in tests {
        job += &format!("/test --exact {test} --nocapture 2>&1 && echo 'passed: {test}'\n");
    }
    let this = std::env::current_exe().unwrap();
    // A quarter of an hour: twenty times what it takes where nothing else runs.
    run(&job, &[(&this, "/test")], Duration::from_secs(900))
}

/// Runs `job`, a shell script, in the VM with `programs` at the paths given; answers with what it
/// printed. It is ended after `at_most`.
fn run(job: &str, programs: &[(&Path, &str)], at_most: Duration) -> String {
    let began = Instant::now();
    let dir = tempfile::tempdir().unwrap();
    let mut files = Files::new();
    files.insert("init".into(), (include_bytes!("init.sh").to_vec(), 0o755));
    files.insert("job".into(), (job.into(), 0o644));
    for (name, package) in PROGRAMS {
        let path = find(name, package);
        match name {
            "qemu-system-x86_64" => {}
            "busybox" => add(&mut files, &path, "/bin/busybox"),
            _ => add_with_libraries(&mut files, &path, &format!("/host/{name}")),
        }
    }
    for (from, to) in programs {
        add_with_libraries(&mut files, from, to);
    }
    for config in [
        "/etc/mke2fs.conf",
        "/etc/netconfig",
        "/etc/protocols",
        "/etc/services",
        "/etc/rpc",
    ] {
        if Path::new(config).exists() {
            add(&mut files, Path::new(config), config);
        }
    }
    let users = ["root:x:0:0", "_rpc:x:100:65534", "statd:x:101:65534"];
    let users = users.map(|user| format!("{user}::/:/bin/sh\n")).concat();
    files.insert("etc/passwd".into(), (users.into(), 0o644));
    add_modules(&mut files);
    let initramfs = dir.path().join("initramfs");
    std::fs::write(&initramfs, cpio(&files)).unwrap();

    let boot = std::fs::read_dir(kernel().join("boot")).unwrap();
    let mut vmlinuz = boot.map(|entry| entry.unwrap().path());
    let vmlinuz = vmlinuz.find(|path| path.to_str().unwrap().contains("vmlinuz"));
    // no_timer_check: on a busy machine an emulated timer is late, and the kernel panics for it.
    // Emulated everywhere: KVM may be there and hang, as it does in a VM of some clouds.
    let accel = std::env::var("LOCALFS_TEST_ACCEL").unwrap_or("tcg".into());
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-M", &format!("q35,accel={accel}"), "-cpu", "max,la57=off"])
        .args(["-smp", "2", "-m", "2G", "-no-reboot", "-nodefaults"])
        .args(["-display", "none", "-serial", "stdio"])
        .args([Path::new("-kernel"), &vmlinuz.expect("a kernel")])
        .args([Path::new("-initrd"), &initramfs])
        .args([
            "-append",
            "console=ttyS0 quiet panic=-1 rdinit=/init mitigations=off no_timer_check",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut qemu = qemu.spawn().unwrap();
    let stdout = qemu.stdout.take().unwrap();
    let (lines, received) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = String::from_utf8_lossy(&line.unwrap()).into_owned();
            let _ = lines.send(line.trim_end_matches('\r').to_owned());
        }
    });
    let mut printed = String::new();
    let mut ended = false;
    loop {
        match received.recv_timeout(at_most.saturating_sub(began.elapsed())) {
            Ok(line) => {
                eprintln!("[{:5.1}] {line}", began.elapsed().as_secs_f32());
                ended |= line.starts_with("VM ends with ");
                printed += &line;
                printed += "\n";
            }
            Err(e) => {
                let _ = qemu.kill();
                let _ = qemu.wait();
                assert!(ended, "the VM did not end by itself ({e}):\n{printed}");
                return printed;
            }
        }
    }
}

fn find(name: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).map(|dir| dir.to_owned());
    let others = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    let mut paths = dirs.chain(others).map(|dir| dir.join(name));
    let found = paths.find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} is missing: apt-get install {package}"))
}

fn add(files: &mut Files, from: &Path, to: &str) {
    let data = std::fs::read(from).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
    files.insert(to.trim_start_matches('/').into(), (data, 0o755));
}

fn add_with_libraries(files: &mut Files, from: &Path, to: &str) {
    add(files, from, to);
    let ldd = Command::new("ldd").arg(from).output().unwrap();
    for word in String::from_utf8_lossy(&ldd.stdout).split_whitespace() {
        if word.starts_with('/') {
            add(files, Path::new(word), word);
        }
    }
}

/// The modules, numbered in an order in which each finds what it depends on.
fn add_modules(files: &mut Files) {
    let mut all = BTreeMap::new();
    let root = kernel();
    let versions = ["lib/modules", "usr/lib/modules"].map(|dir| root.join(dir));
    let modules = versions
        .iter()
        .find(|dir| dir.exists())
        .unwrap_or_else(|| panic!("no kernel in {}: run tests/vm/fetch-kernel", root.display()));
    walk(modules, &mut all);
    let mut order = Vec::new();
    let mut seen = BTreeSet::new();
    for module in MODULES {
        in_order(module, &all, &mut seen, &mut order, files);
    }
    files.insert("modules/order".into(), (order.join("\n").into(), 0o644));
}

fn walk(dir: &Path, all: &mut BTreeMap<String, PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if let Some((name, _)) = name.split_once(".ko") {
            all.insert(name.replace('-', "_"), path);
        } else if path.is_dir() && !path.is_symlink() {
            walk(&path, all);
        }
    }
}

fn in_order(
    module: &str,
    all: &BTreeMap<String, PathBuf>,
    seen: &mut BTreeSet<String>,
    order: &mut Vec<String>,
    files: &mut Files,
) {
    // What is no file is built in.
    let Some(path) = all.get(&module.replace('-', "_")) else {
        return;
    };
    if !seen.insert(module.into()) {
        return;
    }
    let data = match path.extension().unwrap().to_str().unwrap() {
        "zst" => output(Command::new("zstd").arg("-dcq").arg(path)),
        "xz" => output(Command::new("xz").arg("-dcq").arg(path)),
        _ => std::fs::read(path).unwrap(),
    };
    // modinfo: `depends=a,b`, ended by a zero.
    let key = b"\0depends=";
    if let Some(at) = data.windows(key.len()).position(|bytes| bytes == key) {
        let depends = &data[at + key.len()..];
        let end = depends.iter().position(|byte| *byte == 0).unwrap();
        let depends = String::from_utf8_lossy(&depends[..end]).into_owned();
        for module in depends.split(',') {
            in_order(module, all, seen, order, files);
        }
    }
    files.insert(Path::new("modules").join(module), (data, 0o644));
    order.push(module.into());
}

fn output(command: &mut Command) -> Vec<u8> {
    let done = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(done.status.success(), "{command:?}");
    done.stdout
}

/// An archive as the kernel unpacks it (Documentation/driver-api/early-userspace/buffer-format).
fn cpio(files: &Files) -> Vec<u8> {
    let mut archive = Vec::new();
    let mut dirs = BTreeSet::new();
    for path in files.keys() {
        dirs.extend(path.ancestors().skip(1).filter(|dir| *dir != Path::new("")));
    }
    let mut inode = 0;
    let mut add = |path: &Path, mode: u32, data: &[u8]| {
        let name = path.to_str().unwrap();
        inode += 1;
        let (size, name_size) = (data.len(), name.len() + 1);
        archive.extend_from_slice(b"070701");
        for field in [
            inode,
            mode as usize,
            0,
            0,
            1,
            0,
            size,
            0,
            0,
            0,
            0,
            name_size,
            0,
        ] {
            archive.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        archive.extend_from_slice(name.as_bytes());
        archive.push(0);
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend_from_slice(data);
        archive.resize(archive.len().next_multiple_of(4), 0);
    };
    for dir in dirs {
        add(dir, 0o040755, &[]);
    }
    for (path, (data, mode)) in files {
        add(path, 0o100000 | mode, data);
    }
    add(Path::new("TRAILER!!!"), 0, &[]);
    archive
}
