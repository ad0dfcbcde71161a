class Leaf:
    def __init__(self, value):
        self.value = value


def total(tree):  # seam
    if isinstance(tree, list):
        return sum(total(branch) for branch in tree)
    return int(tree)


def deepest(tree):  # seam
    return _walk(tree, 0)


def _walk(tree, depth):
    if isinstance(tree, dict):
        return _walk_all(tree.values(), depth + 1)
    if depth > 1 and not isinstance(tree, int):
        raise TypeError(f"{tree} at depth {depth} is no leaf")
    return depth


def _walk_all(branches, depth):
    return max(_walk(branch, depth) for branch in branches)


def resolve(name):  # seam
    return _follow(name, {name: name + "'", name + "'": name})


def _follow(name, aliases):
    return _follow(aliases[name], aliases)
