"""Jobs with control flow that is not a straight line of calls."""

from flow import aio, bundles, cleaning, formulas, lazy, plain, pools, ranking, registry, retrying, trees


def total(tree):
    return trees.total(tree)


def deepest(tree):
    return trees.deepest(tree)


def loop(name):
    return trees.resolve(name)


def evaluate(text):
    return formulas.evaluate(text)


def crawl(pages):
    return aio.crawl(pages)


def poll(pages, seconds):
    return aio.poll(pages, seconds)


def stream(pages):
    return aio.stream(pages)


def fan_out(pages):
    return aio.fan_out(pages)


def pipeline(rows):
    return lazy.pipeline(rows)


def averages(rows):
    return lazy.averages(rows)


def first(rows):
    return lazy.first(rows)


def best(players):
    return ranking.best(players)


def teams(players):
    return ranking.teams(players)


def nicknames(players):
    return ranking.nicknames(players)


def squares(numbers):
    return pools.squares(numbers)


def roots(numbers):
    return pools.roots(numbers)


def parse_all(texts):
    return pools.parse_all(texts)


def publish(document, mood):
    return cleaning.publish(document, mood)


def withdraw(document, mood):
    return cleaning.withdraw(document, mood)


def replaced(document):
    return cleaning.replaced(document)


def bundle(parts):
    return bundles.deliver(parts)


def mixed_bundle(parts):
    return bundles.deliver_mixed(parts)


def ask(question):
    return retrying.ask(question)


def tell(statement):
    return retrying.tell(statement)


def ask_patiently(question):
    return retrying.ask_patiently(question)


def handle(event, payload):
    return registry.handle(event, payload)


def generated(name, value):
    return registry.generated(name, value)


def rule(source, values):
    return registry.rule(source, values)


def ratio(done, planned):
    return plain.ratio(done, planned)


def unpacked(values):
    return plain.unpacked(values)


def index(values, wanted):
    return plain.index(values, wanted)


def key_of(values):
    return plain.key_of(values)


def asserted(low, high):
    return plain.asserted(low, high)


def bound(flag):
    return plain.bound(flag)


def called(values):
    return plain.called(values)


def encoded(values):
    return plain.encoded(values)


def decoded(text):
    return plain.decoded(text)


def identity(text):
    return plain.identity(text)


def network(text):
    return plain.network(text)


def binary(data):
    return plain.binary(data)
