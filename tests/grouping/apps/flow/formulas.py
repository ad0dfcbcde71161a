"""A parser whose functions call each other."""


class FormulaError(ValueError):
    pass


class Parser:
    def __init__(self, text):
        self.tokens = text.split()
        self.position = 0

    def peek(self):
        return self.tokens[self.position] if self.position < len(self.tokens) else None

    def next(self):
        token = self.peek()
        if token is None:
            raise FormulaError(f"formula ends after {self.position} tokens")
        self.position += 1
        return token

    def expression(self):
        value = self.term()
        while self.peek() == "+":
            self.next()
            value += self.term()
        return value

    def term(self):
        value = self.factor()
        while self.peek() == "/":
            self.next()
            value /= self.factor()
        return value

    def factor(self):
        token = self.next()
        if token == "(":
            value = self.expression()
            self.expect(")")
            return value
        if not token.isdigit():
            raise FormulaError(f"{token} is not a number")
        return int(token)

    def expect(self, wanted):
        token = self.next()
        if token != wanted:
            raise FormulaError(f"{token} where {wanted} was expected")


def evaluate(text):  # seam
    return Parser(text).expression()
