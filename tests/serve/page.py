"""The page in a headless Chromium, by real clicks. Usage: page.py ADDRESS CHROMIUM [PICTURE]"""
import sys

from playwright.sync_api import expect, sync_playwright

address, chromium = sys.argv[1:3]
picture = sys.argv[3] if len(sys.argv) > 3 else None


def talk(page):
    page.get_by_label("Message", exact=True).fill("The cache holds")
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".message.assistant .said")).not_to_be_empty()
    expect(page.get_by_role("button", name="Send")).to_be_visible(timeout=60000)


with sync_playwright() as p:
    browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
    page = browser.new_page(viewport={"width": 1200, "height": 800})
    wrong, asked = [], []
    page.on("pageerror", lambda e: wrong.append(str(e)))
    page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
    page.on("request", lambda r: asked.append(r.url))
    page.goto(address)
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Temperature").fill("0")
    page.get_by_label("Longest answer").fill("24")
    page.get_by_role("button", name="Done").click()
    talk(page)
    first = page.locator(".message.assistant .said").inner_text()
    assert first.strip(), "there is no answer"

    page.get_by_role("button", name="Again").click()
    expect(page.get_by_role("button", name="Send")).to_be_visible(timeout=60000)
    assert page.locator(".message.assistant .said").inner_text() == first
    page.get_by_role("button", name="Edit").click()
    assert page.get_by_label("Message", exact=True).input_value() == "The cache holds"
    assert page.locator(".message").count() == 0
    talk(page)

    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Longest answer").fill("")
    page.get_by_role("button", name="Done").click()
    page.get_by_role("button", name="New").click()
    page.get_by_label("Message", exact=True).fill("<b>Once</b> <script>x</script>")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Stop").click(timeout=10000)
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    assert page.locator(".message.user .said").inner_text() == "<b>Once</b> <script>x</script>"

    page.evaluate("""markdown("# T\\n\\n- a **b**\\n- `c`\\n\\n```x\\n<i>\\n```\\n\\n|a|b|\\n|-|-|\\n|1|2|",
                     document.querySelector(".message.assistant .said"))""")
    said = page.locator(".message.assistant .said")
    assert said.locator("li").count() == 2 and said.locator("td").count() == 2
    assert said.locator("pre code").inner_text() == "<i>"

    page.reload()
    assert page.locator("#conversations option").count() == 2
    page.select_option("#conversations", "1")
    assert page.locator(".message.assistant .said").inner_text() == first
    expect(page.locator("#mapkey")).to_contain_text("in memory", timeout=10000)
    assert page.locator("#map").evaluate("c => c.width + 'x' + c.height") == "32x8"
    if picture:
        page.screenshot(path=picture)
    page.get_by_role("button", name="Machine").click()
    expect(page.locator("#machine")).to_be_hidden()
    page.get_by_role("button", name="Delete").click()
    assert page.locator("#conversations option").count() == 1

    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 380, "height": 700})
    page.get_by_role("button", name="Machine").click()
    page.wait_for_timeout(300)
    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0, "a phone has to scroll %d pixels sideways" % wide
    if picture:
        page.screenshot(path=picture.replace(".png", "-phone.png"))
    browser.close()
    assert not wrong, wrong
    assert all(url.startswith(address) for url in asked), asked
