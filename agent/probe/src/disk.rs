//! The disk where models are kept: what is free, and of which kind it is.
//!
//! ```text
//! folder ──mountinfo──► device 8:2 ──sys/dev/block──► partition ──► disk ──► its bus, or the disks beneath it
//! ```

use std::path::{Path, PathBuf};

use outpost_contract::DiskFacts;

use crate::mounts::{self, Mount};
use crate::tree::{Tree, shown};

/// Encrypted volumes on arrays on partitions, and no deeper: a tree of files may be a ring.
const DEEPEST: usize = 6;

/// Kinds of disks, the slowest first: the slowest beneath a volume tells what to expect of it.
const KINDS: &[&str] = &["network", "rotating", "sd-card", "usb", "emmc", "virtual", "ssd", "nvme", "memory"];

/// Free bytes, for this user, of the file system that holds the path or would hold it once it exists; 0 if it does not say.
pub(crate) fn free_bytes(path: &Path) -> u64 {
    space(path).map_or(0, |space| space.f_bavail.saturating_mul(space.f_frsize))
}

fn space(path: &Path) -> Option<rustix::fs::StatVfs> {
    absolute(path).ancestors().find_map(|step| rustix::fs::statvfs(step).ok())
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// What is known of the disk that holds the path or would hold it.
pub(crate) fn facts(tree: &Tree, path: &Path) -> DiskFacts {
    let mounts = mounts::read(tree);
    let mount = mount_of(&mounts, &real(tree, path));
    let space = if tree.is_live() { space(path) } else { None };
    DiskFacts {
        kind: mount.and_then(|mount| kind_of(tree, mount)).map(str::to_owned),
        file_system: mount.and_then(|mount| shown(&mount.file_system)),
        total_bytes: space.as_ref().map(|space| space.f_blocks.saturating_mul(space.f_frsize)),
        is_read_only: mount.map(|mount| mount.is_read_only),
    }
}

/// The path without links, as far as it exists.
fn real(tree: &Tree, path: &Path) -> PathBuf {
    let absolute = absolute(path);
    if !tree.is_live() {
        return absolute;
    }
    absolute.ancestors().find_map(|step| step.canonicalize().ok()).unwrap_or(absolute)
}

/// The mount with the longest place above the path; of two in one place the later hides the earlier.
fn mount_of<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    mounts
        .iter()
        .filter(|mount| path.starts_with(&mount.place))
        .max_by_key(|mount| Path::new(&mount.place).components().count())
}

fn kind_of(tree: &Tree, mount: &Mount) -> Option<&'static str> {
    match mount.file_system.as_str() {
        "tmpfs" | "ramfs" => return Some("memory"),
        "nfs" | "nfs4" | "cifs" | "smb3" | "smbfs" | "ceph" | "fuse.sshfs" | "fuse.glusterfs" | "fuse.s3fs" => {
            return Some("network");
        }
        "9p" | "virtiofs" => return Some("virtual"),
        _ => {}
    }
    let (major, minor) = mount.device;
    let by_number = || tree.resolved(&format!("sys/dev/block/{major}:{minor}"));
    // File systems over several disks have no number of their own disk, but they name it.
    let by_name = || {
        let name = mount.source.strip_prefix("/dev/").filter(|name| !name.contains("..") && !name.is_empty())?;
        tree.resolved(&format!("sys/class/block/{}", name.replace('/', "!")))
    };
    kind_of_block(tree, &by_number().or_else(by_name)?, 0)
}

/// The kind of a block device by its folder.
fn kind_of_block(tree: &Tree, folder: &str, depth: usize) -> Option<&'static str> {
    if depth > DEEPEST {
        return None;
    }
    if tree.has(&format!("{folder}/partition")) {
        return kind_of_block(tree, folder.rsplit_once('/')?.0, depth + 1);
    }
    let beneath = tree.names(&format!("{folder}/slaves"));
    if !beneath.is_empty() {
        let beneath = beneath.iter().filter_map(|name| tree.resolved(&format!("{folder}/slaves/{name}")));
        let kinds = beneath.map(|folder| kind_of_block(tree, &folder, depth + 1));
        // One that is not known could be the slowest.
        return kinds
            .collect::<Option<Vec<_>>>()?
            .into_iter()
            .min_by_key(|kind| KINDS.iter().position(|known| known == kind));
    }
    let name = folder.rsplit('/').next().unwrap_or_default();
    let rotates = tree.number::<u8>(&format!("{folder}/queue/rotational"));
    let is_on = |bus: &str| folder.split('/').any(|step| step.starts_with(bus));
    match name {
        _ if name.starts_with("nvme") => Some("nvme"),
        _ if name.starts_with("mmcblk") => match tree.name(&format!("{folder}/device/type"))?.as_str() {
            "SD" | "SDcombo" => Some("sd-card"),
            "MMC" => Some("emmc"),
            _ => None,
        },
        _ if name.starts_with("zram") || name.starts_with("ram") || name.starts_with("pmem") => Some("memory"),
        _ if name.starts_with("nbd") || name.starts_with("rbd") => Some("network"),
        // What lies behind a file that is mounted is not told.
        _ if name.starts_with("loop") => None,
        _ if is_on("usb") => Some("usb"),
        _ if is_on("virtio") || is_on("vmbus") || is_on("VMBUS") || is_on("vbd-") => Some("virtual"),
        _ => match rotates? {
            0 => Some("ssd"),
            _ => Some("rotating"),
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::{Fixture, battery_laptop, jetson, nested_container, raspberry_pi_5, server};

    fn kind(fixture: &Fixture, path: &str) -> Option<String> {
        facts(&fixture.tree(), Path::new(path)).kind
    }

    #[test]
    fn each_machine_keeps_its_models_on_a_disk_of_its_kind() {
        let found = facts(&server().tree(), Path::new("/var/lib/outpost/store"));
        assert_eq!(
            (found.kind.as_deref(), found.file_system.as_deref(), found.is_read_only),
            (Some("nvme"), Some("ext4"), Some(false))
        );
        assert_eq!(kind(&raspberry_pi_5(), "/var/lib/outpost").as_deref(), Some("sd-card"));
        assert_eq!(kind(&jetson(), "/var/lib/outpost").as_deref(), Some("emmc"));
        assert_eq!(kind(&battery_laptop(), "/var/lib/outpost").as_deref(), Some("ssd"), "beneath an encrypted volume");
    }

    #[test]
    fn the_longest_mount_counts_and_a_name_that_only_begins_alike_does_not() {
        assert_eq!(kind(&server(), "/srv/archive/models").as_deref(), Some("rotating"));
        assert_eq!(kind(&server(), "/srv/archives/models").as_deref(), Some("nvme"));
        assert_eq!(kind(&server(), "/run/models").as_deref(), Some("memory"));
    }

    #[test]
    fn a_layered_file_system_of_a_container_does_not_tell_its_disk_and_a_volume_does() {
        assert_eq!(kind(&nested_container(), "/opt/outpost"), None);
        assert_eq!(kind(&nested_container(), "/models/store").as_deref(), Some("nvme"));
    }

    #[test]
    fn a_disk_of_several_is_as_slow_as_the_slowest_and_a_ring_ends() {
        let fixture = Fixture::default()
            .file("proc/self/mountinfo", "1 0 9:0 / / rw - ext4 /dev/md0 rw\n")
            .file("sys/devices/a/nvme0n1/queue/rotational", "0")
            .file("sys/devices/a/sda/queue/rotational", "1")
            .link("sys/devices/virtual/block/md0/slaves/nvme0n1", "sys/devices/a/nvme0n1")
            .link("sys/devices/virtual/block/md0/slaves/sda", "sys/devices/a/sda")
            .link("sys/dev/block/9:0", "sys/devices/virtual/block/md0");
        assert_eq!(kind(&fixture, "/x").as_deref(), Some("rotating"));
        let ring = Fixture::default()
            .file("proc/self/mountinfo", "1 0 9:0 / / rw - ext4 /dev/md0 rw\n")
            .link("sys/devices/virtual/block/md0/slaves/md0", "sys/devices/virtual/block/md0")
            .link("sys/dev/block/9:0", "sys/devices/virtual/block/md0");
        assert_eq!(kind(&ring, "/x"), None);
    }

    #[test]
    fn a_file_system_without_a_number_is_found_by_the_disk_that_it_names() {
        let fixture = Fixture::default()
            .file("proc/self/mountinfo", "1 0 0:33 /@ / rw - btrfs /dev/vda2 rw\n")
            .file("sys/devices/pci0/virtio1/block/vda/vda2/partition", "2")
            .link("sys/class/block/vda2", "sys/devices/pci0/virtio1/block/vda/vda2");
        assert_eq!(kind(&fixture, "/x").as_deref(), Some("virtual"));
        let share = fixture.file("proc/self/mountinfo", "1 0 0:33 / / ro - nfs4 host:/x rw\n");
        let found = facts(&share.tree(), Path::new("/x"));
        assert_eq!((found.kind.as_deref(), found.is_read_only), (Some("network"), Some(true)));
    }

    #[test]
    fn the_disk_of_a_folder_that_does_not_exist_yet_is_that_of_its_nearest_parent() {
        let folder = tempfile::tempdir().unwrap();
        assert!(free_bytes(&folder.path().join("not/yet/here")) > 0);
        assert!(free_bytes(Path::new("not-yet-here")) > 0, "a relative path has parents too");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn no_bytes_in_any_of_the_files_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), source in "[a-z/.!]{0,12}") {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let fixture = Fixture::default()
                .file("proc/self/mountinfo", &format!("1 0 0:3 / / rw - ext4 {source} rw\n1 0 7:7 / /x rw - {text}\n{text}"))
                .files("sys/dev/block/7:7", &[("queue/rotational", &text), ("device/type", &text)]);
            facts(&fixture.tree(), Path::new(&source));
            facts(&fixture.tree(), Path::new("/x"));
        }
    }
}
