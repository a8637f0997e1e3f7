"""The small world of the shop desk: what customers ask, in which words, and what the desk answers.

Patterns use `{a|b|c}` for alternatives (nestable, an alternative may be empty). Slots are written `<name>` and
filled from SLOTS; a slot that appears in the answer repeats what the customer said. A pattern that starts with
`!` is held out: no expansion of it is ever trained on.

Every intent: (name, [question patterns], [answers], [words an answer must contain]).
"""

SLOTS = {
    "item": ["shoes", "jacket", "shirt", "dress", "jeans", "sweater", "coat", "hat", "scarf", "backpack", "belt", "socks",
             "skirt", "boots", "gloves", "bag", "T-shirt", "hoodie"],
    "colour": ["red", "blue", "black", "white", "green", "grey", "brown", "yellow"],
    "country": ["Germany", "France", "Spain", "Italy", "Austria", "Belgium", "Poland", "Portugal", "Sweden", "Denmark",
                "Finland", "Ireland", "Greece", "Hungary"],
    "far": ["the United States", "Canada", "Australia", "Japan", "China", "India", "Brazil", "Mexico"],
    "order": None,  # five random digits, see corpus.py
}

INTENTS = [
    ("hours", [
        "{what are|tell me|I need} your {opening|business|working} {hours|times}{| please}",
        "when {are you|is the shop|is the store|is your shop} open",
        "when do you {open|close}", "what time do you {open|close}{| today| tomorrow}",
        "until when are you open{| today}", "{at what time|when} does the {shop|store} {open|close}",
        "how late are you open{| today| on Friday}", "opening {hours|times}",
        "!from when to when can I {come by|visit}", "!which hours is the {shop|store} open",
    ], ["We are open Monday to Friday from 9 am to 6 pm and Saturday from 10 am to 4 pm. We are closed on Sunday."],
        ["9 am to 6 pm", "Saturday"]),
    ("weekend", [
        "are you {open|closed} on {Saturday|Sunday|the weekend|weekends|Saturdays|Sundays}",
        "do you {open|work} on {Saturday|Sunday|the weekend|weekends}", "{Sunday|Saturday|weekend} {opening hours|hours}",
        "can I {come|visit|shop|call} on {Saturday|Sunday|the weekend}",
        "!is {the shop|anyone there} on {Saturday|Sunday|weekends}",
    ], ["On Saturday we are open from 10 am to 4 pm. We are closed on Sunday, but you can order online at any time."],
        ["10 am to 4 pm", "closed on Sunday"]),
    ("holidays", [
        "are you open on {holidays|public holidays|Christmas|New Year|Easter}", "do you {open|work} on {holidays|public holidays|Christmas}",
        "what are your {holiday|Christmas} hours", "{is the shop|are you} closed {on|for} {Christmas|Easter|public holidays}",
        "!do you close for {the holidays|Christmas|Easter}",
    ], ["We are closed on public holidays. Orders that arrive on a holiday are sent on the next working day."],
        ["closed on public holidays"]),
    ("return", [
        "how {do|can} I {return|send back} {an item|something|my order|a product|my <item>|the <item>}",
        "can I {return|send back|bring back} {an item|something|my order|my <item>|the <item>}",
        "I {want|would like|need} to {return|send back} {my order|an item|my <item>|the <item>}",
        "what is your return policy", "how {do|does} returns work", "how long do I have to return {an item|something|my order|my <item>}",
        "how many days do I have {for a return|to return an item|to send something back}", "where do I send {a return|my return}",
        "I do not like {my|the} <item>, can I {return it|return them|send it back}",
        "!what do I do if I want to send {my <item>|something} back", "!is it possible to return {an item|my <item>}",
    ], ["You can return any unworn item within 30 days. Open My Orders, choose Return, print the free label and send the parcel back."],
        ["30 days", "label"]),
    ("return_cost", [
        "{are returns free|is a return free|is returning free}", "how much does a return cost", "what does {a return|returning an item} cost",
        "do I {have to pay|pay} for {a return|returns|return shipping}", "who pays for {return shipping|the return|returns}",
        "!is there a {fee|charge} for returns",
    ], ["Returns are free. We pay for the return label."], ["free"]),
    ("refund", [
        "when {do I get|will I get|do I receive} my {refund|money back|money}", "how long does {a refund|my refund} take",
        "where is my {refund|money}", "I {have not|did not} {received|get} my refund{| yet}", "how {do I get|can I get} {a refund|my money back}",
        "I {want|would like|need} {a refund|my money back}", "I returned my <item>, when do I get my money{| back}",
        "!how fast do you refund{| my money}", "!by when will the refund arrive",
    ], ["We send your refund within 5 working days after your return arrives. The money goes back to the way you paid."],
        ["5 working days"]),
    ("exchange", [
        "can I {exchange|swap|change} {an item|my <item>|the <item>}", "how {do|can} I {exchange|swap} {an item|my <item>|the <item>}",
        "I {want|need|would like} {a different|another} {size|colour}", "can I get my <item> in {another|a different} {size|colour}",
        "I {want|would like} to {exchange|swap} my <item>", "my <item> {is|are} {too small|too big|the wrong size}",
        "the <item> {does|do} not fit{| me}", "!I ordered the wrong {size|colour}", "!can I trade my <item> for another {size|colour}",
    ], ["You can exchange an item within 30 days. Open My Orders, choose Exchange and pick the new size or colour."],
        ["30 days", "Exchange"]),
    ("delivery_time", [
        "how long does {delivery|shipping} take", "how {long|many days} until my {order|parcel|package} arrives", "when will my {order|parcel|package} arrive",
        "how fast {is delivery|do you deliver|is shipping}", "what is the delivery time", "{delivery|shipping} time",
        "when do I get my {order|parcel|package|<item>}", "how soon will I get my {order|parcel|<item>}",
        "!how many days does {delivery|shipping} need", "!when can I expect my {order|parcel|<item>}",
    ], ["Standard delivery takes 2 to 4 working days. Express delivery arrives on the next working day."],
        ["2 to 4 working days"]),
    ("delivery_cost", [
        "how much {is|does} {delivery|shipping}{| cost}", "what does {delivery|shipping} cost", "is {delivery|shipping} free",
        "what are {the|your} {delivery|shipping} {costs|fees}", "do I {pay|have to pay} for {delivery|shipping}",
        "do you {offer|have} free {delivery|shipping}", "from what amount is {delivery|shipping} free", "{delivery|shipping} {cost|costs|fee}",
        "!what will I pay for {delivery|shipping}", "!is there a {delivery|shipping} {fee|charge}",
    ], ["Standard delivery costs 5 euros and is free for orders over 50 euros. Express delivery costs 10 euros."],
        ["5 euros", "50 euros"]),
    ("express", [
        "do you {offer|have} {express|next day|fast} {delivery|shipping}", "can I get {my order|it|my <item>} {tomorrow|by tomorrow|the next day|faster}",
        "I need {it|my order|my <item>} {tomorrow|fast|soon|quickly}", "how {does|do I get} express delivery{| work}",
        "!is {express|next day} {delivery|shipping} possible",
    ], ["Yes, we offer express delivery for 10 euros. Order before 2 pm and your parcel arrives on the next working day."],
        ["10 euros", "2 pm"]),
    ("abroad_eu", [
        "do you {deliver|ship|send} to <country>", "can {I order|you deliver|you ship} to <country>", "I live in <country>, {can I order|do you deliver here}",
        "how long does {delivery|shipping} to <country> take", "how much is {delivery|shipping} to <country>",
        "!is {delivery|shipping} to <country> possible",
    ], ["Yes, we deliver to <country>. It takes 4 to 7 working days and costs 12 euros."], ["<country>", "4 to 7 working days"]),
    ("abroad_far", [
        "do you {deliver|ship|send} to <far>", "can {I order|you deliver|you ship} to <far>", "I live in <far>, {can I order|do you deliver here}",
        "do you {ship|deliver} {worldwide|outside Europe|overseas}", "!is {delivery|shipping} to <far> possible",
    ], ["I am sorry, we deliver only inside the European Union for now."], ["European Union"]),
    ("order_status", [
        "where is my {order|parcel|package} <order>", "where is {order|parcel} <order>", "what is the status of {my |}order <order>",
        "{can you check|check|look up} {my |}order <order>", "when does order <order> arrive", "has {my |}order <order> {been sent|shipped|left}",
        "I am waiting for order <order>", "my order number is <order>", "order <order>", "track {my |}order <order>",
        "!any news {about|on} order <order>", "!do you know where order <order> is",
    ], ["You can follow order <order> under My Orders. We also send you an email when the parcel leaves us."], ["<order>", "My Orders"]),
    ("track", [
        "where is my {order|parcel|package|delivery}", "how {do|can} I track my {order|parcel|package}", "can I track my {order|parcel|package}",
        "I {want|would like} to track my {order|parcel}", "{tracking|tracking number}", "where {is|do I find} {my|the} tracking number",
        "what is the status of my order", "has my {order|parcel} been sent", "!how do I follow my {parcel|order}",
    ], ["Open My Orders and choose Track. The tracking number is also in the email that we sent when your parcel left us."],
        ["My Orders", "Track"]),
    ("missing", [
        "my {order|parcel|package} {has not arrived|did not arrive|is late|is lost|is missing|never came}", "I {did not get|have not received|never got} my {order|parcel|package}",
        "{the tracking says|it says} delivered but I have nothing", "my {order|parcel|package} is {delayed|too late}", "what if my {parcel|package} {is lost|gets lost}",
        "I am still waiting for my {order|parcel|package|<item>}", "!my {delivery|<item>} still {is not|are not} here",
    ], ["I am sorry about that. Please wait two more working days, and if nothing arrives, write to help@shop.example and we send a new parcel."],
        ["two more working days", "help@shop.example"]),
    ("damaged", [
        "my <item> {is|are|arrived} {broken|damaged|torn|dirty|defective}", "I {got|received} {a broken|a damaged|a defective} {item|product|<item>}",
        "the {item|product|parcel} {is|was|arrived} {broken|damaged}", "there is a {hole|stain|problem} {in|on} my <item>",
        "{there is something|something is} wrong with my <item>", "!what can I do about a {broken|damaged} <item>",
    ], ["I am sorry to hear that. Please send a photo to help@shop.example and we replace the item or refund you, as you like."],
        ["photo", "help@shop.example"]),
    ("wrong_item", [
        "I {got|received} the wrong {item|product|order|<item>|parcel}", "you sent {me |}the wrong {item|product|<item>|size|colour}", "this is not what I ordered",
        "{an item|something|my <item>} is missing {from|in} my {order|parcel}", "!there is {the wrong|another} {item|product} in my parcel",
    ], ["I am sorry for the mistake. Please write to help@shop.example with your order number and we send the right item at no cost."],
        ["order number", "help@shop.example"]),
    ("cancel", [
        "{how do|can} I cancel my order", "can I {cancel|stop} {my |the |an |}order{| <order>}", "I {want|would like|need} to cancel my order",
        "{please |}cancel my order", "I {changed my mind|ordered by mistake}", "how {do|can} I {cancel|stop} {an|my} order",
        "!is it {too late|possible} to cancel my order",
    ], ["You can cancel an order until it is sent. Open My Orders and choose Cancel. After that, simply send it back for free."],
        ["until it is sent", "Cancel"]),
    ("change_order", [
        "can I {change|edit} my order", "how {do|can} I change my order", "I {want|would like} to {change|add something to|add an item to} my order",
        "can I add {an item|something|a <item>} to my order", "can I remove {an item|something} from my order", "!I forgot to add {something|a <item>} to my order",
    ], ["You can change an order within one hour. After that, please cancel it and order again."], ["one hour"]),
    ("change_address", [
        "{can I|how do I|how can I} change {my|the|my delivery|the delivery|my shipping} address", "I {moved|have moved|have a new address}",
        "I {gave|entered|used} the wrong address", "can you {send|deliver} {it|my order} to {another|a different} address", "my address is wrong",
        "!how do I update my address",
    ], ["You can change the address until the order is sent. Open My Orders and choose Address."], ["until the order is sent", "Address"]),
    ("payment", [
        "how can I pay", "{what|which} payment {methods|options} {do you accept|are there|do you have}", "can I pay {by|with} {card|credit card|debit card|bank transfer|gift card}",
        "do you {accept|take} {cards|credit cards|debit cards|bank transfer}", "what are {the|your} payment {methods|options}", "payment {methods|options}",
        "!in which ways can I pay", "!with what can I pay",
    ], ["You can pay by credit card, debit card, bank transfer or gift card."], ["credit card", "bank transfer"]),
    ("cash", [
        "can I pay {cash|in cash|on delivery}", "do you {accept|take} {cash|cash on delivery}", "is cash {possible|okay|accepted}",
        "!may I pay the driver in cash",
    ], ["We do not take cash online. In our store in Mill Street you can pay in cash."], ["cash", "Mill Street"]),
    ("instalments", [
        "can I pay {in instalments|later|by invoice|monthly|in parts}", "do you offer {instalments|pay later|payment by invoice}", "is {paying later|payment by invoice} possible",
        "!can I split the payment",
    ], ["I am sorry, we do not offer instalments or payment by invoice."], ["do not offer"]),
    ("payment_failed", [
        "my {payment|card} {failed|was declined|does not work|was refused|is not accepted}", "{the|my} payment {does not go through|did not work}",
        "I cannot pay", "why {was my card declined|does my payment fail}", "!I have {a problem|trouble} {paying|with the payment}",
    ], ["Please check the card number and the date, or try another way to pay. No money is taken when a payment fails."],
        ["another way to pay"]),
    ("charged_twice", [
        "I {was charged|paid} {twice|two times|too much}", "you charged me {twice|two times|too much}", "there {is|are} two {payments|charges} on my card",
        "!why did you take the money twice",
    ], ["I am sorry. A second charge is usually only reserved and goes away within 3 days. If it stays, write to help@shop.example."],
        ["3 days"]),
    ("invoice", [
        "{where is|where do I find|can I get|I need} {my|an|the} {invoice|receipt|bill}", "how {do|can} I get {an|my|the} {invoice|receipt}",
        "{please |}send me {an|the|my} {invoice|receipt}", "can you send me {an|the} {invoice|receipt}", "!I {lost|cannot find} my {invoice|receipt}",
    ], ["You find the invoice under My Orders. Open the order and choose Invoice to save it as a file."], ["My Orders", "Invoice"]),
    ("warranty", [
        "{do you have|is there|do you give} a {warranty|guarantee}", "how long is the {warranty|guarantee}", "what does the {warranty|guarantee} cover",
        "is {the|my} <item> under {warranty|guarantee}", "{warranty|guarantee}", "how long {do I have|is my} {warranty|guarantee}{| on my <item>}",
        "!what about the {warranty|guarantee} {of|for|on} {the|my} <item>",
    ], ["All our products have a warranty of two years. It covers faults in the material and in the making."], ["two years"]),
    ("gift_card", [
        "do you {sell|have|offer} gift cards", "{can I buy|where can I buy|how do I buy|I want to buy} a gift card", "how {does a gift card|do gift cards} work",
        "how much {is|can I put on} a gift card", "I {want|need} a gift card", "gift card", "!I am looking for a gift card",
    ], ["We sell gift cards from 10 to 200 euros. You get the code by email and can use it for three years."], ["10 to 200 euros"]),
    ("gift_card_use", [
        "how {do|can} I {use|redeem} {a|my} gift card", "where do I enter {my|the} {gift card|gift card code}", "my gift card {does not work|is not accepted}",
        "how long is {a|my} gift card valid", "{does|do} {a gift card|gift cards} expire", "!I got a gift card, {what now|where can I use it}",
    ], ["Enter the code of your gift card at the checkout. It is valid for three years and can be used in several steps."],
        ["checkout", "three years"]),
    ("discount", [
        "do you have {a discount|discounts|a sale|a coupon|a promo code}", "is there a {discount|sale|coupon|promo code}", "{can I get|how do I get} a {discount|coupon}",
        "when is the {next sale|sale}", "where do I enter {my|the|a} {coupon|promo code|discount code}", "!any {discounts|coupons|sales} {right now|today|at the moment}",
    ], ["You get 10 percent off your first order when you join our newsletter. Enter the code at the checkout."], ["10 percent"]),
    ("student", [
        "{do you have|is there|do you offer} a student discount", "I am a student, {do I get a discount|is there a discount}", "student discount",
        "!do students {pay less|get a discount}",
    ], ["Yes, students get 15 percent off. Please send a photo of your student card to help@shop.example."], ["15 percent"]),
    ("size", [
        "{what|which} size {should I take|do I need|fits me|is right for me}", "do you have a size {guide|chart|table}", "where is the size {guide|chart|table}",
        "how do I {find|know|choose} my size", "I am not sure about {my|the} size", "{do|does} the <item> {run|come out} {small|large|big}",
        "{what|which} size {should I take|do I need} for the <item>", "!how do I {measure|pick} the right size",
    ], ["You find a size guide on every product page. If you are between two sizes, take the larger one."], ["size guide", "larger"]),
    ("sizes_available", [
        "{what|which} sizes do you have{| for the <item>}", "do you have {the <item> in |}size {S|M|L|XL|small|medium|large}", "in {what|which} sizes {is|are} the <item>{| available}",
        "!do the <item> come in {large|small} sizes",
    ], ["Our clothes come in the sizes XS, S, M, L and XL, and shoes from 36 to 46."], ["XS", "36 to 46"]),
    ("stock", [
        "{is|are} the {<colour> |}<item> {in stock|available|sold out}", "do you have {the |}{<colour> |}<item>{| in stock}", "when {is|are} the <item> back in stock",
        "do you sell {<colour> |}<item>", "I am looking for {a |}{<colour> |}<item>", "!can I {buy|get} {a |}{<colour> |}<item> {here|from you}",
    ], ["Please look at the page of the <item> to see what is in stock. You can leave your email there and we tell you when it is back."],
        ["<item>", "in stock"]),
    ("care", [
        "how do I {wash|clean|care for} {my|the} <item>", "can I {wash|tumble dry|iron} {my|the} <item>", "how should I {wash|clean} {my|the} <item>",
        "!is {my|the} <item> machine washable",
    ], ["Wash your <item> at 30 degrees and let it dry in the air. The label inside tells you more."], ["<item>", "30 degrees"]),
    ("contact", [
        "how {can|do} I {contact|reach} {you|support|customer service}", "what is your {phone number|email|email address|contact}", "can I {call|email|write to} you",
        "I {want|need|would like} to {talk|speak} to {a person|a human|someone|an agent}", "{contact|phone number|customer service}", "do you have a {phone number|hotline}",
        "can I {talk|speak} to {a person|a human|someone}", "!how do I get in touch{| with you}", "!where can I {reach|call} {you|someone}",
    ], ["You can write to help@shop.example or call 555 0100, Monday to Friday from 9 am to 6 pm."], ["help@shop.example", "555 0100"]),
    ("store", [
        "where {is|are} your {shop|store}{| located}", "do you have a {shop|store|real store}", "what is your address", "where {are you|can I find you|can I find your store}",
        "can I {visit|come to} {you|your store}", "{store|shop} {address|location}", "!in which {street|town} is your {shop|store}",
    ], ["Our store is at 12 Mill Street, next to the station. You can try things on there and return orders too."], ["12 Mill Street"]),
    ("pickup", [
        "can I {pick up|collect} my {order|parcel|<item>}{| in the store| in store}", "do you {offer|have} {pickup|store pickup|click and collect}", "{is pickup|is store pickup} {possible|free}",
        "!may I {pick up|collect} my {order|parcel} myself",
    ], ["Yes, choose Pickup at the checkout. Your order is ready in our store after one day, and pickup is free."], ["Pickup", "one day"]),
    ("password", [
        "I forgot my password", "how {do|can} I {reset|change} my password", "I {cannot|can not} log in", "my password does not work", "{reset|lost} password",
        "I need a new password", "!help, I {lost|do not know} my password",
    ], ["Choose Forgot Password on the login page. We send you an email with a link to set a new one."], ["Forgot Password", "link"]),
    ("account", [
        "how {do|can} I {create|open|make} an account", "do I need an account{| to order}", "can I order {without an account|as a guest}",
        "I {want|would like} to {create|open} an account", "!must I {sign up|register} to {buy|order}",
    ], ["You can order as a guest or create an account at the checkout. With an account you see all your orders in one place."],
        ["guest", "account"]),
    ("delete_account", [
        "how {do|can} I {delete|close} my account", "I {want|would like} to {delete|close} my account", "{please |}delete my {account|data}",
        "!can you remove my {account|data}",
    ], ["Open My Account, choose Settings and then Delete. We remove your data within 7 days."], ["Settings", "7 days"]),
    ("newsletter", [
        "how {do|can} I {subscribe to|join|get} the newsletter", "how {do|can} I {unsubscribe|leave the newsletter|stop the newsletter}", "I {do not want|want to stop} {your emails|the newsletter|the emails}",
        "do you have a newsletter", "!please send me no more {emails|newsletters}",
    ], ["You can join or leave the newsletter under My Account. Every email also has a link to leave at the end."], ["My Account"]),
    ("privacy", [
        "is my data safe", "what do you do with my data", "do you {sell|share} my data", "how do you {protect|use} my data", "{data protection|privacy}",
        "!who can see my data",
    ], ["Your data is used only for your orders. We never sell it, and payments are encrypted."], ["never sell"]),
    ("packaging", [
        "do you offer gift wrapping", "can you {wrap it as a gift|gift wrap my order|wrap my <item>}", "is there gift wrapping", "how much is gift wrapping",
        "!I need {this|my <item>} as a present",
    ], ["Yes, we wrap your order as a gift for 3 euros. Choose Gift at the checkout."], ["3 euros", "Gift"]),
    ("sustainable", [
        "{is|are} your {packaging|products|clothes} {green|sustainable|recycled|fair}", "what {is|are} your {clothes|packaging} made of", "do you use recycled {packaging|boxes|material}",
        "!how green {are you|is your shop}",
    ], ["Our boxes are made of recycled paper, and most of our clothes are made of organic cotton."], ["recycled paper"]),
    ("jobs", [
        "do you have {any jobs|jobs|open jobs}", "can I work {for you|at your shop}", "are you hiring", "how {do|can} I apply{| for a job}", "!I am looking for a job",
    ], ["Thank you for asking. Please send your letter to jobs@shop.example and we answer within two weeks."], ["jobs@shop.example"]),
    ("hello", [
        "{hi|hello|hey|good morning|good afternoon|good evening}{| there}", "{hi|hello}, {can you help me|I need help|I have a question}", "I need help", "can you help me", "!greetings",
    ], ["Hello! How can I help you today?"], ["help you"]),
    ("who", [
        "who are you", "what are you", "are you {a robot|a human|a bot|real}", "what can you do", "what is your name", "{how|what} can you help me with",
        "!am I talking to a {machine|person}",
    ], ["I am the help desk of this shop, a small computer program. I can answer questions about orders, returns and delivery, and do short sums."],
        ["help desk"]),
    ("thanks", [
        "{thanks|thank you|thank you very much|thanks a lot|great, thanks|okay, thank you|perfect, thank you}", "{that helps|that helped|that was all}{|, thanks|, thank you}", "!cheers",
    ], ["You are welcome! Is there anything else I can do for you?"], ["welcome"]),
    ("bye", [
        "{bye|goodbye|see you|good night|have a nice day}", "no, {that is all|that was all|nothing else}{|, bye|, thank you}", "!until next time",
    ], ["Goodbye, and thank you for shopping with us!"], ["Goodbye"]),
    ("complaint", [
        "I am {angry|unhappy|not happy|disappointed|upset}{| with your service| with you}", "your {service|shop|support} is {bad|terrible|awful|slow}", "I {want|would like} to {complain|make a complaint}",
        "this is {terrible|awful|not okay}", "!I have a complaint",
    ], ["I am very sorry. Please tell us what went wrong at help@shop.example, and we make it right within two working days."],
        ["sorry", "help@shop.example"]),
    ("other", [
        "what is the capital of {France|Spain|Italy|Japan|Brazil}", "who {is|was} {the president|Napoleon|Einstein|Shakespeare}", "{tell me|do you know} a {joke|story|poem}", "what is the weather{| today| tomorrow| like}",
        "write {me |}{a poem|a story|a song|some code|an essay}", "what is {love|the meaning of life|physics|a computer}", "how {old|tall|far} is {the moon|the earth|the sun|the Eiffel Tower}",
        "how do I {cook|bake|fix} {rice|a cake|my car|pasta|a bike}", "do you like {music|football|cats|dogs|movies}", "who won the {game|election|match|World Cup}", "translate {hello|this|a word} {to|into} {French|German|Spanish}",
        "what should I {eat|cook|watch|read}", "can you {sing|dance|cook|drive}", "what {day|year|time} is it", "how do {planes|cars|birds} {fly|work}", "where is {the moon|Paris|the sea|my cat}",
        "why is {the sky|the sea|grass} {blue|green}", "are you {happy|tired|hungry|in love}", "{asdf|blah blah|lorem ipsum|test}",
        "!recommend a {movie|book|song}", "!which {planet|animal|country} is the {biggest|largest|fastest}", "!do you believe in {love|magic|ghosts}",
    ], ["I am sorry, I can only help with this shop: orders, returns, delivery, payment and opening hours. I can also do short sums."],
        ["only help with this shop"]),
]

# Answers grounded in what the application put into the system message, as `Order 12345: shipped.`
STATUS = {
    "packed": "Order <order> is being packed. It leaves us on the next working day.",
    "shipped": "Order <order> is on its way. It arrives in 2 to 4 working days.",
    "out for delivery": "Order <order> is out for delivery and arrives today.",
    "delivered": "Order <order> was delivered. If you do not have it, please ask your neighbours first.",
    "delayed": "I am sorry, order <order> is delayed. It arrives a few days later than planned.",
    "waiting for payment": "Order <order> is waiting for your payment. We send it as soon as the money arrives.",
    "cancelled": "Order <order> was cancelled. You get your money back within 5 working days.",
}

SYSTEM_PROMPTS = ["You are the help desk of an online shop.", "You are a helpful assistant.", "Answer the customer in short sentences.",
                  "You work at the help desk of a shop. Be brief and polite.", "You are a friendly shop assistant."]

OPENERS = ["Hi, ", "Hello, ", "Hey, ", "Hi! ", "Hello! ", "Please tell me, ", "Quick question: ", "Excuse me, ", "Good morning, ", "One question: ", "Sorry, "]
CLOSERS = [" Thanks.", " Thank you.", " Thanks!", " Please help."]

# <a> and <b> are the operands, in the order in which they are added or subtracted.
SUM_PATTERNS = {
    "+": ["{what is|what's|calculate|how much is|what does|compute|tell me} <a> {+|plus} <b>{|?}", "<a> {+|plus} <b>", "<a>+<b>", "<a> + <b> ={| ?}", "<a>+<b>=", "add <a> and <b>",
          "{what is|find|calculate} the sum of <a> and <b>", "add <b> to <a>", "what do I get when I add <a> and <b>", "{can you|please} {add|sum} <a> and <b>",
          "how much is <a> and <b>{| together}", "what is <a>+<b>?", "!solve <a> + <b>", "!sum up <a> and <b>"],
    "-": ["{what is|what's|calculate|how much is|what does|compute|tell me} <a> {-|minus} <b>{|?}", "<a> {-|minus} <b>", "<a>-<b>", "<a> - <b> ={| ?}", "<a>-<b>=", "subtract <b> from <a>",
          "take <b> {from|away from} <a>", "what do I get when I subtract <b> from <a>", "{can you|please} subtract <b> from <a>", "<a> less <b>",
          "what is <a>-<b>?", "!solve <a> - <b>", "!what is left of <a> without <b>"],
}
# Sums in the words of a shop; always a >= b for subtraction.
SHOP_SUMS = {
    "+": [("{a|my|the|one} <item> costs <a> euros and {another|a second|the other} one {costs |}<b> euros, {what is the total|how much is that{| together}|what do I pay}", "The total is <c> euros."),
          ("I buy {something for|a <item> for} <a> euros and {something|a hat|a bag} for <b> euros, {what is the total|how much is that|what do I pay}", "The total is <c> euros."),
          ("I have <a> <item> and {get|buy|order} <b> more, how many {do I have|are that}{| now}", "That makes <c>.")],
    "-": [("I have <a> euros and {spend|pay} <b>{| euros}, {how much is left|what is left|how much do I have left}", "<c> euros are left."),
          ("{it|the <item>} costs <a> euros and I {have|get} {a discount|a coupon} of <b> euros, {what do I pay|how much is that}", "You pay <c> euros."),
          ("I had <a> <item> and {returned|gave away} <b>, how many are left", "<c> are left.")],
}
NO_SUM = ["what is {<n> times <n>|<n> * <n>|<n> x <n>|<n> divided by <n>|<n> / <n>|the square root of <n>}", "{<n> times <n>|<n> * <n>|<n> x <n>|<n> / <n>|multiply <n> by <n>|divide <n> by <n>}",
          "what is <big> {+|plus|-|minus} <big>", "<big> {+|-} <big>"]
NO_SUM_ANSWER = "I am sorry, I can only add and subtract numbers from 0 to 99."
