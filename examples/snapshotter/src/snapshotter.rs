//! The snapshotter itself: containerd's requests, one method each.
//!
//! ```text
//! Prepare ─┬─ for layers of an accelerated image ─► remembered as lazy; containerd skips their download
//!          └─ else ─► a directory to write into
//!
//! mounts of a snapshot = overlay of   fs          its own directory, if it is active
//!                                     fs …        those of its parents …
//!                                     rootfs      … down to the first lazy one, which has all below it
//! ```
//!
//! A lazy snapshot has its device mounted while something that is no lazy snapshot itself is on top of
//! it. Mounts are made by who needs them, and ended by [`cleanup`](Snapshotter::cleanup) alone, which
//! containerd calls after it has collected garbage.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use examples::one_line::one_line;
use tokio::task::spawn_blocking;

use crate::containerd::snapshots::Mount;
use crate::device::Device;
use crate::error::{Doing, Error, Result};
use crate::filter::Filter;
use crate::images::Images;
use crate::label;
use crate::overlay::{self, FILES, WORK};
use crate::record::{Kind, Labels, Origin, Record, Usage};
use crate::records::{NewRecord, Records};
use crate::rootfs::Rootfs;
use crate::usage;

/// A snapshotter over a state directory.
#[derive(Debug)]
pub struct Snapshotter {
    directory: PathBuf,
    records: Arc<Mutex<Records>>,
    images: Images,
    rootfs: Arc<dyn Rootfs>,
    /// Held while the rootfs of the lazy snapshot with this number is mounted or unmounted.
    mounting: Mutex<BTreeMap<u64, Arc<tokio::sync::Mutex<()>>>>,
}

impl Snapshotter {
    /// Takes up the state in the directory `root`, which is made if it is not there. What a crash has
    /// left behind is removed by the first [`cleanup`](Self::cleanup).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if `root` cannot stand in the options of a mount, and [`Error::Disk`].
    pub async fn open(root: &Path, images: Images, rootfs: Arc<dyn Rootfs>) -> Result<Self> {
        let fits = |text: &str| text.starts_with('/') && !text.contains([':', ',', '\\', '"']);
        if !root.to_str().is_some_and(fits) {
            let what = format!("state directory {root:?}: not an absolute path without : , \\ and quotes");
            return Err(Error::InvalidArgument(what));
        }
        let directory = root.join("snapshots");
        let of = directory.clone();
        let records = Arc::new(Mutex::new(blocking(move || Records::open(of)).await?));
        Ok(Self { directory, records, images, rootfs, mounting: Mutex::default() })
    }

    /// Makes an active snapshot and gives its mounts. If containerd wants to unpack layers into it that
    /// an accelerated image has, they become a committed snapshot instead.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] in that case, too.
    pub async fn prepare(&self, key: String, parent: Option<String>, labels: Labels) -> Result<Vec<Mount>> {
        if let Some(target) = labels.get(label::TARGET)
            && self.lazily(&key, parent.as_deref(), target, &labels).await?
        {
            return Err(Error::AlreadyExists(target.clone()));
        }
        let kind = Kind::Active;
        self.make(NewRecord { name: key, parent, kind, origin: Origin::Written, labels }).await
    }

    /// Makes a snapshot that is only read and gives its mounts.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`], [`Error::NotFound`] or [`Error::InvalidArgument`] of the parent,
    /// [`Error::Rootfs`], [`Error::Disk`].
    pub async fn view(&self, key: String, parent: Option<String>, labels: Labels) -> Result<Vec<Mount>> {
        let kind = Kind::View;
        self.make(NewRecord { name: key, parent, kind, origin: Origin::Written, labels }).await
    }

    /// The mounts of a snapshot that is not committed. After a restart of the machine, this mounts what it
    /// reads through.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::FailedPrecondition`], [`Error::Rootfs`].
    pub async fn mounts(&self, key: String) -> Result<Vec<Mount>> {
        let record = self.stat(key).await?;
        self.mounts_on(&record, &self.directories_below(&record).await?)
    }

    /// Commits an active snapshot.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::FailedPrecondition`], [`Error::AlreadyExists`], [`Error::Disk`].
    pub async fn commit(&self, name: String, key: String, labels: Labels) -> Result<()> {
        let usage = self.usage(key.clone()).await?;
        self.records(move |records| records.commit(&key, &name, labels, usage)).await
    }

    /// Forgets a snapshot. Its files are removed by the next [`cleanup`](Self::cleanup).
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::FailedPrecondition`] if there are others on top of it,
    /// [`Error::Disk`].
    pub async fn remove(&self, key: String) -> Result<()> {
        self.records(move |records| records.remove(&key)).await
    }

    /// What is remembered of a snapshot.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub async fn stat(&self, key: String) -> Result<Record> {
        self.records(move |records| records.get(&key).cloned()).await
    }

    /// Changes the labels of a snapshot.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Disk`].
    pub async fn relabel(
        &self,
        name: String,
        change: impl FnOnce(&mut Labels) + Send + 'static,
    ) -> Result<Record> {
        self.records(move |records| records.relabel(&name, change)).await
    }

    /// The snapshots that one of `filters` lets through; all, if there are none.
    ///
    /// # Errors
    ///
    /// None yet; the signature is that of the other requests.
    pub async fn list(&self, filters: Vec<Filter>) -> Result<Vec<Record>> {
        self.records(move |records| Ok(records.list(&filters))).await
    }

    /// What the files of a snapshot occupy, without its parents. A lazy snapshot occupies nothing: what was
    /// read of it is in a cache that all share.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Disk`].
    pub async fn usage(&self, key: String) -> Result<Usage> {
        let record = self.stat(key).await?;
        if record.kind != Kind::Active {
            return Ok(record.usage);
        }
        let files = self.place(record.id).join(FILES);
        blocking(move || usage::of(&files).doing(|| format!("measuring {}", files.display()))).await
    }

    /// Unmounts what nobody reads through any more, and removes what belongs to no snapshot.
    ///
    /// # Errors
    ///
    /// [`Error::Disk`]. What is in use stays until the next time.
    pub async fn cleanup(&self) -> Result<()> {
        let (unowned, idle) = self.records(|records| Ok((records.unowned()?, records.idle()))).await?;
        for id in idle {
            let mounting = self.mounting(id);
            let _alone = mounting.lock().await;
            let still = self.records(move |records| Ok(records.idle().contains(&id))).await?;
            if still && let Err(error) = self.rootfs.unmount(&self.place(id).join(ROOTFS)).await {
                eprintln!("snapshot {id} stays mounted: {}", one_line(&error));
            }
        }
        for id in unowned {
            // Somebody may still be mounting it.
            let mounting = self.mounting(id);
            let _alone = mounting.lock().await;
            let place = self.place(id);
            if let Err(error) = self.rootfs.unmount(&place.join(ROOTFS)).await {
                eprintln!("{} stays: {}", place.display(), one_line(&error));
                continue;
            }
            blocking(move || remove_all(&place)).await?;
        }
        Ok(())
    }

    /// Whether the layers of `target` on top of `parent` are there or can be read lazily from now on.
    async fn lazily(&self, key: &str, parent: Option<&str>, target: &str, labels: &Labels) -> Result<bool> {
        let wanted = (target.to_owned(), parent.map(str::to_owned));
        let there =
            move |records: &mut Records| Ok(records.unpacked(&wanted.0, wanted.1.as_deref()).is_some());
        if self.records(there).await? {
            return Ok(true);
        }
        let Some(image) = label::image(labels) else { return Ok(false) };
        let device = match self.images.find(image, target).await {
            Ok(device) => device,
            Err(error) => {
                eprintln!("{target} of {image} is unpacked: {}", one_line(&error));
                return Ok(false);
            }
        };
        let (target, key, parent) = (target.to_owned(), key.to_owned(), parent.map(str::to_owned));
        let labels = labels.clone();
        self.records(move |records| {
            if records.unpacked(&target, parent.as_deref()).is_some() {
                return Ok(true);
            }
            // containerd finds it by label and parent. Another snapshot of the same layers has the plain
            // name if it stands on another parent, because they were unpacked in two namespaces.
            let name = if records.get(&target).is_ok() { key } else { target };
            let (kind, origin) = (Kind::Committed, Origin::Lazy);
            let new = NewRecord { name, parent, kind, origin, labels };
            records.add(new, |place| fill_lazy(place, &device)).map(|_| true)
        })
        .await
    }

    async fn make(&self, new: NewRecord) -> Result<Vec<Mount>> {
        let record = self.records(move |records| records.add(new, fill_written)).await?;
        let made = async {
            let below = self.directories_below(&record).await?;
            let files = self.place(record.id).join(FILES);
            if let Some(nearest) = below.first().cloned() {
                blocking(move || inherit_owner(&files, &nearest)).await?;
            }
            self.mounts_on(&record, &below)
        };
        let made = made.await;
        if made.is_err()
            && let Err(error) = self.remove(record.name).await
        {
            eprintln!("snapshot {} stays although it could not be made: {error}", record.id);
        }
        made
    }

    fn mounts_on(&self, record: &Record, below: &[PathBuf]) -> Result<Vec<Mount>> {
        let place = self.place(record.id);
        match record.kind {
            Kind::Active => Ok(vec![overlay::active(&place, below)]),
            Kind::View => Ok(vec![overlay::view(&place, below)]),
            Kind::Committed => Err(Error::FailedPrecondition {
                name: record.name.clone(),
                why: "is neither active nor a view",
            }),
        }
    }

    /// The directories that a snapshot is on top of, the nearest first. A lazy one is mounted and is the
    /// last, because it has everything below it.
    async fn directories_below(&self, record: &Record) -> Result<Vec<PathBuf>> {
        let of = record.clone();
        let below = self.records(move |records| records.below(&of)).await?;
        let mut directories = Vec::new();
        for record in below {
            let place = self.place(record.id);
            match record.origin {
                Origin::Written => directories.push(place.join(FILES)),
                Origin::Lazy => {
                    let mounting = self.mounting(record.id);
                    let _alone = mounting.lock().await;
                    let directory = place.join(ROOTFS);
                    let mounted = self.rootfs.mount(&place.join(DEVICE), &directory).await;
                    mounted.map_err(|source| Error::Rootfs { name: record.name, source })?;
                    directories.push(directory);
                    break;
                }
            }
        }
        Ok(directories)
    }

    /// Where the files of snapshot `id` are.
    fn place(&self, id: u64) -> PathBuf {
        self.directory.join(id.to_string())
    }

    /// What is held while the rootfs of snapshot `id` changes.
    fn mounting(&self, id: u64) -> Arc<tokio::sync::Mutex<()>> {
        let mut mounting = self.mounting.lock().unwrap_or_else(PoisonError::into_inner);
        mounting.retain(|_, held| Arc::strong_count(held) > 1);
        Arc::clone(mounting.entry(id).or_default())
    }

    /// Does `work` on the records, which reads and writes the disk.
    async fn records<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Records) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let records = Arc::clone(&self.records);
        blocking(move || work(&mut records.lock().unwrap_or_else(PoisonError::into_inner))).await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = spawn_blocking(work).await.map_err(std::io::Error::from);
    done.doing(|| "working on the state directory".to_owned())?
}

fn fill_written(place: &Path) -> Result<()> {
    for name in [FILES, WORK] {
        let path = place.join(name);
        fs::create_dir(&path).doing(|| format!("creating {}", path.display()))?;
        // What the process masks out of new directories is no business of containers.
        fs::set_permissions(&path, Permissions::from_mode(0o755))
            .doing(|| format!("changing the mode of {}", path.display()))?;
    }
    Ok(())
}

fn fill_lazy(place: &Path, device: &Device) -> Result<()> {
    let (rootfs, description) = (place.join(ROOTFS), place.join(DEVICE));
    fs::create_dir(&rootfs).doing(|| format!("creating {}", rootfs.display()))?;
    device.write(&description).doing(|| format!("writing {}", description.display()))
}

fn remove_all(place: &Path) -> Result<()> {
    match fs::remove_dir_all(place) {
        // Another cleanup was faster.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.doing(|| format!("removing {}", place.display())),
    }
}

/// Gives the root directory of a snapshot the owner that it has in the snapshot below, which it hides.
fn inherit_owner(files: &Path, below: &Path) -> Result<()> {
    let owner = fs::metadata(below).doing(|| format!("reading {}", below.display()))?;
    let (uid, gid) = (Some(owner.uid()), Some(owner.gid()));
    lchown(files, uid, gid).doing(|| format!("changing the owner of {}", files.display()))
}

/// The parts of a lazy snapshot's directory: what the device is made of, and where it is mounted.
const DEVICE: &str = "device.json";
const ROOTFS: &str = "rootfs";
