//! Files and folders on a [`Device`], as simple as the file system of a flash drive: it has no links.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::time::SystemTime;

use fuser::{Errno, FileAttr, FileType, INodeNo};

use super::device::{BLOCK, Device};

/// Number of the root folder.
pub const TOP: u64 = 1;

type Answer<T> = Result<T, Errno>;

/// The file system of a drive.
pub struct Disk {
    pub device: Device,
    nodes: BTreeMap<u64, Node>,
    next: u64,
}

/// A file or folder.
pub struct Node {
    pub mode: u16,
    pub owner: (u32, u32),
    pub mtime: SystemTime,
    body: Body,
    opened: u32,
    named: bool,
}

enum Body {
    Folder(BTreeMap<OsString, u64>),
    File(Content),
}

#[derive(Default)]
struct Content {
    len: u64,
    /// Blocks of the device in the file's order; `None` was never written.
    blocks: Vec<Option<u64>>,
    unsynced: BTreeSet<u64>,
}

impl Node {
    fn new(body: Body, mode: u32, owner: (u32, u32)) -> Self {
        Self { mode: mode as u16 & 0o7777, owner, mtime: SystemTime::now(), body, opened: 0, named: true }
    }

    fn folder(&self) -> Answer<&BTreeMap<OsString, u64>> {
        match &self.body {
            Body::Folder(names) => Ok(names),
            Body::File(_) => Err(Errno::ENOTDIR),
        }
    }

    pub fn kind(&self) -> FileType {
        match self.body {
            Body::Folder(_) => FileType::Directory,
            Body::File(_) => FileType::RegularFile,
        }
    }
}

impl Disk {
    /// An empty file system on a device that claims this many bytes.
    pub fn new(claimed: u64, owner: (u32, u32)) -> Self {
        let top = Node::new(Body::Folder(BTreeMap::new()), 0o755, owner);
        Self { device: Device::new(claimed), nodes: BTreeMap::from([(TOP, top)]), next: TOP + 1 }
    }

    pub fn node(&mut self, number: u64) -> Answer<&mut Node> {
        self.nodes.get_mut(&number).ok_or(Errno::ENOENT)
    }

    fn names(&mut self, folder: u64) -> Answer<&mut BTreeMap<OsString, u64>> {
        match &mut self.node(folder)?.body {
            Body::Folder(names) => Ok(names),
            Body::File(_) => Err(Errno::ENOTDIR),
        }
    }

    fn content(&mut self, file: u64) -> Answer<(&mut Content, &mut Device)> {
        match &mut self.nodes.get_mut(&file).ok_or(Errno::ENOENT)?.body {
            Body::File(content) => Ok((content, &mut self.device)),
            Body::Folder(_) => Err(Errno::EISDIR),
        }
    }

    pub fn attr(&self, number: u64) -> Answer<FileAttr> {
        let node = self.nodes.get(&number).ok_or(Errno::ENOENT)?;
        let (size, blocks) = match &node.body {
            Body::Folder(_) => (BLOCK as u64, 1),
            Body::File(content) => {
                (content.len.saturating_sub(self.device.understated()), content.blocks.iter().flatten().count() as u64)
            }
        };
        Ok(FileAttr {
            ino: INodeNo(number),
            size,
            blocks: blocks * (BLOCK as u64 / 512),
            atime: node.mtime,
            mtime: node.mtime,
            ctime: node.mtime,
            crtime: node.mtime,
            kind: node.kind(),
            perm: node.mode,
            nlink: u32::from(node.named),
            uid: node.owner.0,
            gid: node.owner.1,
            rdev: 0,
            blksize: BLOCK as u32,
            flags: 0,
        })
    }

    pub fn find(&mut self, folder: u64, name: &OsStr) -> Answer<u64> {
        self.names(folder)?.get(name).copied().ok_or(Errno::ENOENT)
    }

    /// Name, number and type of every entry of a folder.
    pub fn list(&self, folder: u64) -> Answer<Vec<(OsString, u64, FileType)>> {
        let names = self.nodes.get(&folder).ok_or(Errno::ENOENT)?.folder()?;
        Ok(names.iter().map(|(name, number)| (name.clone(), *number, self.nodes[number].kind())).collect())
    }

    /// Bytes of a folder's path, with a slash after each name.
    fn path_len(&self, folder: u64) -> usize {
        let name_in = |node: &Node| {
            let names = node.folder().ok()?;
            names.iter().find(|(_, number)| **number == folder).map(|(name, _)| name.len())
        };
        let above = self.nodes.iter().find_map(|(number, node)| Some((*number, name_in(node)?)));
        above.map_or(0, |(above, name)| self.path_len(above) + name + 1)
    }

    pub fn make(&mut self, folder: u64, name: &OsStr, is_folder: bool, mode: u32, owner: (u32, u32)) -> Answer<u64> {
        if name.len() > 255 || !self.device.takes_path(self.path_len(folder) + name.len()) {
            return Err(Errno::ENAMETOOLONG);
        }
        let number = self.next;
        let names = self.names(folder)?;
        if names.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        names.insert(name.to_owned(), number);
        let body = if is_folder { Body::Folder(BTreeMap::new()) } else { Body::File(Content::default()) };
        self.nodes.insert(number, Node::new(body, mode, owner));
        self.next += 1;
        Ok(number)
    }

    pub fn remove(&mut self, folder: u64, name: &OsStr, is_folder: bool) -> Answer<()> {
        let number = self.find(folder, name)?;
        match &self.node(number)?.body {
            Body::Folder(_) if !is_folder => return Err(Errno::EISDIR),
            Body::File(_) if is_folder => return Err(Errno::ENOTDIR),
            Body::Folder(names) if !names.is_empty() => return Err(Errno::ENOTEMPTY),
            _ => {}
        }
        self.names(folder)?.remove(name);
        self.node(number)?.named = false;
        self.forget(number)
    }

    pub fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr), replace: bool) -> Answer<()> {
        let number = self.find(from.0, from.1)?;
        match self.find(to.0, to.1) {
            Ok(there) if there == number => return Ok(()),
            Ok(_) if !replace => return Err(Errno::EEXIST),
            Ok(_) => {
                let is_folder = self.node(number)?.kind() == FileType::Directory;
                self.remove(to.0, to.1, is_folder)?;
            }
            Err(_) => {}
        }
        self.names(to.0)?.insert(to.1.to_owned(), number);
        self.names(from.0)?.remove(from.1);
        Ok(())
    }

    pub fn open(&mut self, number: u64) -> Answer<()> {
        self.node(number)?.opened += 1;
        Ok(())
    }

    pub fn close(&mut self, number: u64) -> Answer<()> {
        self.node(number)?.opened -= 1;
        self.forget(number)
    }

    /// Frees the blocks of a file that has no name left and is not open.
    fn forget(&mut self, number: u64) -> Answer<()> {
        let node = self.node(number)?;
        if !node.named && node.opened == 0 {
            // The node itself stays, because the kernel may still refer to it, such as to pass on late times.
            if let Body::File(content) = &mut node.body {
                let blocks = std::mem::take(&mut content.blocks);
                content.len = 0;
                blocks.into_iter().flatten().for_each(|block| self.device.give_back(block));
            }
        }
        Ok(())
    }

    pub fn read(&mut self, file: u64, offset: u64, len: usize) -> Answer<Vec<u8>> {
        let (content, device) = self.content(file)?;
        let end = content.len.min(offset + len as u64);
        let mut out = Vec::with_capacity(len);
        let mut at = offset;
        while at < end {
            let start = at as usize % BLOCK;
            let stop = BLOCK.min(start + (end - at) as usize);
            let block = content.blocks.get(at as usize / BLOCK).copied().flatten();
            let bytes = block.map_or(Ok([0; BLOCK]), |block| device.load(block))?;
            out.extend_from_slice(&bytes[start..stop]);
            at += (stop - start) as u64;
        }
        Ok(out)
    }

    pub fn write(&mut self, file: u64, offset: u64, mut bytes: &[u8]) -> Answer<()> {
        let (content, device) = self.content(file)?;
        let mut at = offset;
        while !bytes.is_empty() {
            let (index, start) = (at as usize / BLOCK, at as usize % BLOCK);
            let len = bytes.len().min(BLOCK - start);
            while content.blocks.len() <= index {
                let filled = content.blocks.len() < index && !device.knows_holes();
                content.blocks.push(if filled { Some(device.take()?) } else { None });
            }
            let (block, mut stored) = match content.blocks[index] {
                Some(block) if len < BLOCK => (block, device.load(block)?),
                Some(block) => (block, [0; BLOCK]),
                None => (device.take()?, [0; BLOCK]),
            };
            stored[start..start + len].copy_from_slice(&bytes[..len]);
            device.store(block, stored);
            content.blocks[index] = Some(block);
            content.unsynced.insert(block);
            at += len as u64;
            content.len = content.len.max(at);
            bytes = &bytes[len..];
        }
        Ok(())
    }

    /// Truncates a file, or extends it with a hole.
    pub fn resize(&mut self, file: u64, len: u64) -> Answer<()> {
        let (content, device) = self.content(file)?;
        let blocks = (len as usize).div_ceil(BLOCK);
        for block in content.blocks.drain(blocks.min(content.blocks.len())..).flatten() {
            content.unsynced.remove(&block);
            device.give_back(block);
        }
        let tail = len as usize % BLOCK;
        if let (true, Some(Some(block))) = (tail > 0, content.blocks.get(blocks - 1)) {
            let mut stored = device.load(*block)?;
            stored[tail..].fill(0);
            device.store(*block, stored);
        }
        content.len = len;
        Ok(())
    }

    /// Allocates blocks to a file without making it longer.
    pub fn claim(&mut self, file: u64, offset: u64, len: u64) -> Answer<()> {
        let (content, device) = self.content(file)?;
        let end = ((offset + len) as usize).div_ceil(BLOCK);
        content.blocks.resize(end.max(content.blocks.len()), None);
        for block in &mut content.blocks[offset as usize / BLOCK..end] {
            if block.is_none() {
                *block = Some(device.take()?);
            }
        }
        Ok(())
    }

    pub fn sync(&mut self, file: u64) -> Answer<()> {
        let (content, device) = self.content(file)?;
        let unsynced = std::mem::take(&mut content.unsynced);
        if device.sync_fails() {
            unsynced.into_iter().for_each(|block| device.lose(block));
            return Err(Errno::EIO);
        }
        Ok(())
    }
}
