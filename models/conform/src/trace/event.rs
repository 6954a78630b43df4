//! What the events of `dma:*`, `swiotlb:*`, `iommu:*` say, and probes on the functions behind them.

/// Something that the replay knows of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event<'a> {
    /// `swiotlb:swiotlb_bounced`: slots are about to be searched.
    Bounced { dev: &'a str, mask: u64, orig: u64, size: u64 },
    /// `dma:dma_map_page`, after the mapping; `dma` is all ones when it failed.
    MapPage { dev: &'a str, dma: u64, size: u64, phys: u64 },
    /// `dma:dma_unmap_page`, after the unmapping.
    UnmapPage { dev: &'a str, dma: u64, size: u64 },
    /// `dma:dma_map_sg`, after the mapping.
    MapSg { dev: &'a str, nents: u64, ents: u64, dma: List<'a>, sizes: List<'a>, phys: List<'a> },
    /// `dma:dma_unmap_sg`, before the unmapping.
    UnmapSg { dev: &'a str, phys: List<'a> },
    /// `dma:dma_alloc`, after the allocation.
    Alloc { dev: &'a str, dma: u64, size: u64 },
    /// `dma:dma_free`, after the release.
    Free { dev: &'a str, dma: u64, size: u64 },
    /// `iommu:map`.
    IommuMap { iova: u64, paddr: u64, size: u64 },
    /// `iommu:unmap`.
    IommuUnmap { iova: u64, size: u64 },
    /// `iommu:add_device_to_group`.
    AddDevice { group: u64, dev: &'a str },
    /// `intel_iommu:cache_tag_flush_all`: a flush queue is being emptied on this CPU.
    FlushAll { did: u64 },
    /// `iommu:attach_device_to_domain`.
    Attach { dev: &'a str },
    /// Entry of `dma_map_page_attrs()`.
    ProbeMapPage { dev: &'a str },
    /// Return of `dma_map_page_attrs()`.
    ProbeMapPageReturn { dma: u64 },
    /// Entry of `dma_map_sg_attrs()`.
    ProbeMapSg { dev: &'a str },
    /// Entry of `dma_unmap_page_attrs()`, `dma_free_attrs()`, `dma_unmap_sg_attrs()`, `dma_alloc_attrs()`.
    ProbeOther { dev: &'a str },
    /// Entry of `swiotlb_tbl_map_single()`: the search follows at once.
    SwMap { dev: &'a str, orig: u64, size: u64, alloc_size: Option<u64>, align: u64 },
    /// Return of `swiotlb_tbl_map_single()`.
    SwMapReturn { tlb: u64 },
    /// Entry of `swiotlb_tbl_unmap_single()`.
    SwUnmap { dev: &'a str, tlb: u64, size: u64 },
    /// Entry of `alloc_iova_fast()`.
    IovaAlloc { domain: u64, pages: u64, limit: u64, flush: bool },
    /// Return of `alloc_iova_fast()`.
    IovaAllocReturn { pfn: u64 },
    /// Entry of `alloc_iova()`: nothing suitable was cached.
    IovaSlow { domain: u64, pages: u64, limit: u64 },
    /// Entry of `free_iova_fast()`.
    IovaFree { domain: u64, pfn: u64, pages: u64 },
    /// Entry of `fq_flush_iotlb()` or `fq_flush_timeout()`.
    FqFlush,
    /// Entry of `dma_set_mask()`.
    SetMask { dev: &'a str, mask: u64 },
}

/// Why an event is not given to the replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skip {
    /// No rule of the models is behind it, or it tells nothing that another does not.
    Unused,
    /// Its name is known, but its text cannot be read.
    Broken,
}

/// The numbers between braces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct List<'a>(&'a str);

impl<'a> List<'a> {
    /// The numbers in order; none where the text is no number.
    pub(super) fn iter(self) -> impl Iterator<Item = Option<u64>> + use<'a> {
        let text = self.0;
        let parts = if text.is_empty() { None } else { Some(text.split(',')) };
        parts.into_iter().flatten().map(|part| number(part, 16))
    }
}

fn number(text: &str, radix: u32) -> Option<u64> {
    let text = text.trim();
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => u64::from_str_radix(text, radix).ok(),
    }
}

/// The text behind ` key=` up to the next blank. Keys may be part of other keys, so a blank must stand before.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut from = 0;
    while let Some(found) = text[from..].find(key) {
        let at = from + found;
        let behind = at + key.len();
        if (at == 0 || text.as_bytes()[at - 1] == b' ') && text.as_bytes().get(behind) == Some(&b'=') {
            let value = &text[behind + 1..];
            return Some(value.split(' ').next().unwrap_or(value));
        }
        from = behind;
    }
    None
}

fn hex(text: &str, key: &str) -> Option<u64> {
    number(field(text, key)?, 16)
}

fn dec(text: &str, key: &str) -> Option<u64> {
    number(field(text, key)?, 10)
}

fn list<'a>(text: &'a str, key: &str) -> Option<List<'a>> {
    Some(List(field(text, key)?.strip_prefix('{')?.strip_suffix('}')?))
}

/// The device's name, the first word.
fn device(text: &str) -> Option<&str> {
    let name = text.split(' ').next()?;
    (!name.is_empty() && name.len() <= 64).then_some(name)
}

/// The second of `a/b`.
fn of_total(text: &str, key: &str) -> Option<u64> {
    let value = field(text, key)?;
    number(value.split_once('/').map_or(value, |(_, total)| total), 10)
}

/// Reads the text of event `name`.
///
/// # Errors
///
/// Why it is not for the replay.
pub(super) fn parse<'a>(name: &str, text: &'a str) -> Result<Event<'a>, Skip> {
    let event = match name {
        "swiotlb_bounced" => bounced(text),
        "dma_map_page" => map_page(text),
        "dma_unmap_page" => unmap_page(text),
        "dma_map_sg" => map_sg(text),
        "dma_unmap_sg" => {
            device(text).zip(list(text, "phys_addrs")).map(|(dev, phys)| Event::UnmapSg { dev, phys })
        }
        "dma_alloc" => alloc(text).map(|(dev, dma, size)| Event::Alloc { dev, dma, size }),
        "dma_free" => alloc(text).map(|(dev, dma, size)| Event::Free { dev, dma, size }),
        "map" if text.starts_with("IOMMU:") => iommu_map(text),
        "unmap" if text.starts_with("IOMMU:") => iommu_unmap(text),
        "add_device_to_group" => add_device(text),
        "cache_tag_flush_all" => text
            .split_once(" did ")
            .and_then(|(_, rest)| number(rest.split(' ').next()?, 10))
            .map(|did| Event::FlushAll { did }),
        "attach_device_to_domain" => field(text, "device")
            .filter(|dev| !dev.is_empty() && dev.len() <= 64)
            .map(|dev| Event::Attach { dev }),
        _ => return probe(text),
    };
    event.ok_or(Skip::Broken)
}

fn bounced(text: &str) -> Option<Event<'_>> {
    Some(Event::Bounced {
        dev: device(text.strip_prefix("dev_name: ")?)?,
        mask: hex(text, "dma_mask")?,
        orig: hex(text, "dev_addr")?,
        size: dec(text, "size")?,
    })
}

fn map_page(text: &str) -> Option<Event<'_>> {
    Some(Event::MapPage {
        dev: device(text)?,
        dma: hex(text, "dma_addr")?,
        size: dec(text, "size")?,
        phys: hex(text, "phys_addr")?,
    })
}

fn unmap_page(text: &str) -> Option<Event<'_>> {
    Some(Event::UnmapPage { dev: device(text)?, dma: hex(text, "dma_addr")?, size: dec(text, "size")? })
}

fn map_sg(text: &str) -> Option<Event<'_>> {
    Some(Event::MapSg {
        dev: device(text)?,
        nents: of_total(text, "nents")?,
        ents: of_total(text, "ents")?,
        dma: list(text, "dma_addrs")?,
        sizes: list(text, "sizes")?,
        phys: list(text, "phys_addrs")?,
    })
}

fn alloc(text: &str) -> Option<(&str, u64, u64)> {
    Some((device(text)?, hex(text, "dma_addr")?, dec(text, "size")?))
}

fn iommu_map(text: &str) -> Option<Event<'_>> {
    Some(Event::IommuMap { iova: hex(text, "iova")?, paddr: hex(text, "paddr")?, size: dec(text, "size")? })
}

fn iommu_unmap(text: &str) -> Option<Event<'_>> {
    Some(Event::IommuUnmap { iova: hex(text, "iova")?, size: dec(text, "unmapped_size")? })
}

fn add_device(text: &str) -> Option<Event<'_>> {
    let dev = field(text, "device")?;
    (!dev.is_empty() && dev.len() <= 64).then_some(())?;
    Some(Event::AddDevice { group: dec(text, "groupID")?, dev })
}

/// A probe's text begins with the place, `(function+0xoff/0xlen)` or, on return, `(caller <- function)`. The probed
/// function is what tells probes apart: their names are whatever the recorder called them.
fn probe(text: &str) -> Result<Event<'_>, Skip> {
    let Some((place, args)) = text.strip_prefix('(').and_then(|text| text.split_once(')')) else {
        return Err(Skip::Unused);
    };
    let args = args.trim_start();
    let event = match place.split_once(" <- ") {
        Some((_, function)) => match function {
            "swiotlb_tbl_map_single" => hex(args, "ret").map(|tlb| Event::SwMapReturn { tlb }),
            "alloc_iova_fast" => {
                hex(args, "pfn").or_else(|| hex(args, "ret")).map(|pfn| Event::IovaAllocReturn { pfn })
            }
            "dma_map_page_attrs" => hex(args, "ret").map(|dma| Event::ProbeMapPageReturn { dma }),
            _ => return Err(Skip::Unused),
        },
        None => match place.split('+').next().unwrap_or(place) {
            "swiotlb_tbl_map_single" => sw_map(args),
            "swiotlb_tbl_unmap_single" | "__swiotlb_tbl_unmap_single" => sw_unmap(args),
            "alloc_iova_fast" => iova_alloc(args),
            "alloc_iova" => iova_slow(args),
            "free_iova_fast" => iova_free(args),
            "fq_flush_iotlb" | "fq_flush_timeout" => Some(Event::FqFlush),
            "dma_map_page_attrs" => quoted(args, "dev").map(|dev| Event::ProbeMapPage { dev }),
            "dma_map_sg_attrs" => quoted(args, "dev").map(|dev| Event::ProbeMapSg { dev }),
            "dma_unmap_page_attrs" | "dma_unmap_sg_attrs" | "dma_alloc_attrs" | "dma_free_attrs" => {
                quoted(args, "dev").map(|dev| Event::ProbeOther { dev })
            }
            "dma_set_mask" => {
                quoted(args, "dev").zip(hex(args, "mask")).map(|(dev, mask)| Event::SetMask { dev, mask })
            }
            _ => return Err(Skip::Unused),
        },
    };
    event.ok_or(Skip::Broken)
}

fn quoted<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let name = field(text, key)?.trim_matches('"');
    (!name.is_empty() && name.len() <= 64).then_some(name)
}

fn sw_map(args: &str) -> Option<Event<'_>> {
    Some(Event::SwMap {
        dev: quoted(args, "dev")?,
        orig: hex(args, "orig")?,
        size: hex(args, "mapsize")?,
        alloc_size: hex(args, "allocsize"),
        align: hex(args, "amask")?,
    })
}

fn sw_unmap(args: &str) -> Option<Event<'_>> {
    Some(Event::SwUnmap { dev: quoted(args, "dev")?, tlb: hex(args, "tlb")?, size: hex(args, "size")? })
}

fn iova_alloc(args: &str) -> Option<Event<'_>> {
    Some(Event::IovaAlloc {
        domain: hex(args, "iovad")?,
        pages: hex(args, "size")?,
        limit: hex(args, "limit_pfn")?,
        flush: dec(args, "flush")? != 0,
    })
}

fn iova_slow(args: &str) -> Option<Event<'_>> {
    Some(Event::IovaSlow {
        domain: hex(args, "iovad")?,
        pages: hex(args, "size")?,
        limit: hex(args, "limit_pfn")?,
    })
}

fn iova_free(args: &str) -> Option<Event<'_>> {
    Some(Event::IovaFree { domain: hex(args, "iovad")?, pfn: hex(args, "pfn")?, pages: hex(args, "size")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_whole_words() {
        assert_eq!(field("a_size=1 size=2", "size"), Some("2"));
        assert_eq!(field("size", "size"), None);
    }

    #[test]
    fn probes_are_known_by_their_function() {
        let entry =
            "(swiotlb_tbl_map_single+0x4/0x770) dev=\"0000:00:03.0\" orig=0x10 mapsize=0x5ae amask=0x0 dir=1";
        let expected =
            Event::SwMap { dev: "0000:00:03.0", orig: 16, size: 0x5ae, alloc_size: None, align: 0 };
        assert_eq!(parse("whatever", entry), Ok(expected));
        let back = "(swiotlb_map+0x6c/0x280 <- swiotlb_tbl_map_single) ret=0x7d8fe000";
        assert_eq!(parse("r", back), Ok(Event::SwMapReturn { tlb: 0x7d8f_e000 }));
        assert_eq!(parse("other", "(kmalloc+0x1/0x2) x=1"), Err(Skip::Unused));
    }

    #[test]
    fn a_cut_text_is_broken() {
        assert_eq!(parse("dma_map_page", "0000:00:03.0 dir=TO_DEVICE dma_ad"), Err(Skip::Broken));
        assert_eq!(parse("dma_unmap_sg", "d dir=X phys_addrs={0x1,0x2"), Err(Skip::Broken));
        assert_eq!(
            parse("swiotlb_bounced", "dev_name: d dma_mask=fffffffffffffffff dev_addr=1 size=1"),
            Err(Skip::Broken)
        );
    }
}
