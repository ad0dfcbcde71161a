import asyncio


class PageError(Exception):
    pass


async def _load(page):
    await asyncio.sleep(0)
    if page.startswith("!"):
        raise PageError(f"page {page} is empty")
    return page


async def _links(page):
    text = await _load(page)
    return text.split("->")[1]


async def _titles(page):
    text = await _load(page)
    return text.title()


async def _crawl(pages):
    return [await _links(page) for page in pages]


def crawl(pages):  # seam
    return asyncio.run(_crawl(pages))


async def _fan_out(pages):
    return await asyncio.gather(*[_titles(page) for page in pages])


def fan_out(pages):  # seam
    return asyncio.run(_fan_out(pages))


async def _poll(pages, seconds):
    async with asyncio.timeout(seconds):
        for page in pages:
            await _titles(page)
        await asyncio.sleep(5)


def poll(pages, seconds):  # seam
    return asyncio.run(_poll(pages, seconds))


async def _numbers(pages):
    for page in pages:
        yield int(await _load(page))


async def _sum(pages):
    return sum([number async for number in _numbers(pages)])


def stream(pages):  # seam
    return asyncio.run(_sum(pages))
