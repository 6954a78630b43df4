//! Free lists of the page allocator: linked lists in an arena, whose nodes stand for one block or for a run of them.

/// "No node".
pub(super) const NIL: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Node {
    /// First page frame of the first block.
    pfn: u64,
    /// Neighbouring blocks, in ascending order; more than 1 only for the largest order.
    blocks: u64,
    prev: u32,
    next: u32,
}

/// One list: of one zone and one order.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    head: u32,
    tail: u32,
    /// Blocks in it.
    pub(super) blocks: u64,
}

impl List {
    pub(super) const EMPTY: Self = Self { head: NIL, tail: NIL, blocks: 0 };
}

/// The nodes of all lists.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    nodes: Vec<Node>,
    unused: Vec<u32>,
}

impl Nodes {
    pub(super) fn clear(&mut self) {
        self.nodes.clear();
        self.unused.clear();
    }

    fn make(&mut self, node: Node) -> u32 {
        if let Some(index) = self.unused.pop() {
            self.nodes[index as usize] = node;
            return index;
        }
        self.nodes.push(node);
        u32::try_from(self.nodes.len() - 1).unwrap_or(NIL)
    }

    /// Puts blocks to the head and returns their node.
    pub(super) fn push_head(&mut self, list: &mut List, pfn: u64, blocks: u64) -> u32 {
        list.blocks += blocks;
        let index = self.make(Node { pfn, blocks, prev: NIL, next: list.head });
        match self.nodes.get_mut(list.head as usize) {
            Some(head) => head.prev = index,
            None => list.tail = index,
        }
        list.head = index;
        index
    }

    /// Puts blocks to the tail and returns their node.
    pub(super) fn push_tail(&mut self, list: &mut List, pfn: u64, blocks: u64) -> u32 {
        list.blocks += blocks;
        let index = self.make(Node { pfn, blocks, prev: list.tail, next: NIL });
        match self.nodes.get_mut(list.tail as usize) {
            Some(tail) => tail.next = index,
            None => list.head = index,
        }
        list.tail = index;
        index
    }

    /// As [`push_head`](Self::push_head) for a block of `pages` pages; joins a run that begins right behind it.
    pub(super) fn join_head(&mut self, list: &mut List, pfn: u64, pages: u64) {
        match self.nodes.get_mut(list.head as usize) {
            Some(head) if head.pfn == pfn + pages => {
                head.pfn = pfn;
                head.blocks += 1;
                list.blocks += 1;
            }
            _ => {
                self.push_head(list, pfn, 1);
            }
        }
    }

    /// As [`push_tail`](Self::push_tail) for `blocks` blocks of `pages` pages each; joins a run that ends right there.
    pub(super) fn join_tail(&mut self, list: &mut List, pfn: u64, blocks: u64, pages: u64) {
        match self.nodes.get_mut(list.tail as usize) {
            Some(tail) if tail.pfn + tail.blocks * pages == pfn => {
                tail.blocks += blocks;
                list.blocks += blocks;
            }
            _ => {
                self.push_tail(list, pfn, blocks);
            }
        }
    }

    /// Takes the block at the head.
    pub(super) fn pop_head(&mut self, list: &mut List, pages: u64) -> Option<u64> {
        let head = self.nodes.get_mut(list.head as usize)?;
        let pfn = head.pfn;
        if head.blocks > 1 {
            head.pfn += pages;
            head.blocks -= 1;
            list.blocks -= 1;
        } else {
            let head = list.head;
            self.unlink(list, head);
        }
        Some(pfn)
    }

    /// Takes a node of a single block out of its list.
    pub(super) fn unlink(&mut self, list: &mut List, index: u32) {
        let node = self.nodes[index as usize];
        match self.nodes.get_mut(node.prev as usize) {
            Some(prev) => prev.next = node.next,
            None => list.head = node.next,
        }
        match self.nodes.get_mut(node.next as usize) {
            Some(next) => next.prev = node.prev,
            None => list.tail = node.prev,
        }
        list.blocks -= node.blocks;
        self.unused.push(index);
    }

    /// Nodes of a list with first page frame and number of blocks, from head to tail; no more than there are nodes, should
    /// the list go round.
    pub(super) fn runs(&self, list: List) -> impl Iterator<Item = (u32, u64, u64)> {
        let at = |index: u32| self.nodes.get(index as usize).map(|node| (index, node));
        std::iter::successors(at(list.head), move |(_, node)| at(node.next))
            .map(|(index, node)| (index, node.pfn, node.blocks))
            .take(self.nodes.len())
    }

    /// First page frame of the block at the head.
    pub(super) fn first(&self, list: List) -> Option<u64> {
        self.nodes.get(list.head as usize).map(|node| node.pfn)
    }

    /// First page frames of the blocks, from head to tail.
    pub(super) fn iter(&self, list: List, pages: u64) -> impl Iterator<Item = u64> {
        let first = self.nodes.get(list.head as usize);
        std::iter::successors(first, |node| self.nodes.get(node.next as usize))
            .flat_map(move |node| (0..node.blocks).map(move |block| node.pfn + block * pages))
    }
}
