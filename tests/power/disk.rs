//! A disk of the test's own whose power can be cut: ext4 in a file, on a loop device.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::ioctl::{Opcode, Setter, ioctl, opcode};

/// How large it is. Sparse: it takes what is written to it.
const BYTES: u64 = 512 << 20;

/// The file system's own commits, once in so many seconds, would save what was not synced: a cut comes earlier.
const COMMIT_SECONDS: u32 = 300;

/// `FS_IOC_SHUTDOWN`, `_IOR('X', 125, __u32)`.
const SHUTDOWN: Opcode = opcode::read::<u32>(b'X', 125);

/// `FS_GOING_DOWN_NOLOGFLUSH`: what is in memory stays there, the journal included.
const WITHOUT_FLUSH: u32 = 2;

/// A mounted disk; unmounted and thrown away when dropped.
pub struct Disk {
    image: tempfile::NamedTempFile,
    mounted_at: PathBuf,
}

impl Disk {
    /// Makes an empty disk and mounts it at `path`, a new folder.
    ///
    /// # Panics
    /// It can't, which is said; a test without it would prove nothing.
    pub fn mounted_at(path: &Path) -> Self {
        let image = tempfile::NamedTempFile::new().expect("a temporary file");
        image.as_file().set_len(BYTES).expect("it can be made longer");
        run("mkfs.ext4", Command::new("mkfs.ext4").args(["-q", "-F"]).arg(image.path()));
        std::fs::create_dir_all(path).expect("the folder can be made");
        let disk = Self { image, mounted_at: path.to_owned() };
        disk.mount();
        disk
    }

    /// Cuts its power: nothing reaches it any more, and what was not synced never will.
    pub fn cut(&self) {
        let folder = File::open(&self.mounted_at).expect("the disk is there");
        // SAFETY: the opcode is that of `FS_IOC_SHUTDOWN`, which reads one `__u32`.
        let done = unsafe { ioctl(&folder, Setter::<SHUTDOWN, u32>::new(WITHOUT_FLUSH)) };
        done.expect("ext4 lets root shut it down");
    }

    /// Gives it power again. Whoever had files open on it has to be gone.
    pub fn power_up(&self) {
        run("umount", Command::new("umount").arg(&self.mounted_at));
        self.mount();
    }

    fn mount(&self) {
        let options = format!("loop,commit={COMMIT_SECONDS}");
        run("mount", Command::new("mount").args(["-t", "ext4", "-o", &options]).arg(self.image.path()).arg(&self.mounted_at));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a test that fails may leave a host behind that has files open for a moment longer.
        let _ = Command::new("umount").arg("--lazy").arg(&self.mounted_at).stderr(Stdio::null()).status();
    }
}

fn run(what: &str, command: &mut Command) {
    let said = match command.output() {
        Ok(output) if output.status.success() => return,
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    panic!(
        "a power cut can't be emulated, because `{what}` failed: {}\nIt needs root, loop devices and ext4. Where there are none, \
         TIDEGATE_POWER_CUTS=0 leaves these tests out.",
        said.trim()
    );
}
